"""Runs a compiled file's DPU subgraphs on the card for a process of another Python: needs numpy, xir and vart.

    python worker.py probe                       prints one line of JSON: what this interpreter has
    python worker.py serve MEMORY OPEN JOB SILENCE
                                                 does what it is told on stdin, a line of JSON each; answers on stdout

MEMORY is the descriptor of a file that both processes map; all tensors lie there, and no array goes through a pipe.
OPEN and JOB: seconds that opening a file and a job may take; SILENCE: seconds without a line from the other side after
which this process ends, as it does at the end of stdin. Messages, with their answers:

    {"do": "open", "model": PATH, "parts": [NAME...], "runners": N}    {"said": "opened", "parts": [...]}
    {"do": "map", "size": BYTES, "slots": N, "stride": BYTES, "parts": [{"inputs": {TENSOR: OFFSET}, "outputs": ...}]}
                                                                       {"said": "mapped"}
    {"do": "run", "job": ID, "runner": R, "slot": S, "part": P}        {"said": "done", "job": ID}
    {"do": "beat"}                                                     {"said": "beat"}
    {"do": "end"}                                                      none: the process ends

or {"said": "failed", "why": TEXT, "job": ID or null}. A slot is a copy of all parts' tensors; runner r's slot s
begins at (r * slots + s) * stride.

The vendor's `wait` keeps the interpreter's lock, so threads would only wait for each other, and nothing written in
Python can end a hung one: this process has one thread, starts everything that it was told before it waits for the
oldest job, and lets the system's alarm end it. Arrays are int8, C-contiguous and writable, because the vendor checks
nothing and reads past the end of what is too small; it also aborts the process where others raise an exception.
(Facts on the vendor's calls: the project's sheet on the format and the API, sections 6 and 7.)

Python 3.6 syntax; Vitis AI 1.4.1 to 3.0, whose xir and vart have the calls used here in common.
"""

# ruff: noqa: B905, UP006, UP035

import importlib
import importlib.util
import json
import mmap
import os
import platform
import re
import select
import signal
import sys
from collections import deque
from typing import Any, Deque, Dict, List, Tuple

MARK = "@unmask "  # begins the answer to "probe", among what the vendor's modules print
MODE = "run"  # without a mode, or with another one, the vendor aborts or runs on the CPU
CHUNK = 1 << 16
LINGER = 0.001  # seconds for an answered job's successor to come while the card does its last one
_LIBRARY = re.compile(r"/(lib(?:xir|vart-[\w-]+|rt-engine|target-factory)\.so[.\d]*)$")
_PACKAGE = re.compile(r"(?:vart|xir)-\d[.\d]*-")


class CallError(Exception):
    """What was asked cannot be done."""


class Link:
    """The two pipes. What the vendor's libraries print to stdout is sent to stderr, out of the way."""

    def __init__(self, silence: float) -> None:
        self.input, self.output = os.dup(0), os.dup(1)
        self.silence, self.rest = silence, b""
        nothing = os.open(os.devnull, os.O_RDONLY)
        os.dup2(nothing, 0)
        os.dup2(2, 1)

    def say(self, **answer: Any) -> None:
        """Send one answer."""
        data = (json.dumps(answer) + "\n").encode("ascii")
        while data:
            data = data[os.write(self.output, data) :]

    def messages(self, seconds: float) -> List[Dict[str, Any]]:
        """What comes in within `seconds`. Raises `EOFError` when the other side has ended or is silent."""
        ready = select.select([self.input], [], [], seconds)[0]
        if not ready:
            if seconds >= self.silence:
                raise EOFError("nothing was heard for {:g} s".format(self.silence))  # noqa: UP032
            return []
        data = os.read(self.input, CHUNK)
        if not data:
            raise EOFError("the other side has ended")
        lines = (self.rest + data).split(b"\n")
        self.rest = lines.pop()
        return [json.loads(line.decode("utf-8")) for line in lines]


class Limit:
    """`with Limit(seconds)`: the system ends this process when the block takes longer."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    def __enter__(self) -> None:
        signal.setitimer(signal.ITIMER_REAL, self.seconds)

    def __exit__(self, *_error: Any) -> None:
        signal.setitimer(signal.ITIMER_REAL, 0)


class Places:
    """One runner's tensors of one direction, in the runner's own order."""

    def __init__(self, tensors: Any) -> None:
        self.tensors = [describe(tensor) for tensor in tensors]

    def views(self, memory: Any, start: int, offsets: Dict[str, int]) -> List[Any]:
        """Their arrays in the shared memory, by name."""
        import numpy

        arrays = []
        for tensor in self.tensors:
            count = 1
            for size in tensor["dims"]:
                count *= size
            place = start + offsets[tensor["name"]]
            arrays.append(numpy.frombuffer(memory, numpy.int8, count, place).reshape(tensor["dims"]))
        return arrays


class Card:
    """The opened file: a vendor's runner for each part, `count` times, and the arrays they work on."""

    def __init__(self, path: str, names: List[str], count: int) -> None:
        xir, vart = importlib.import_module("xir"), importlib.import_module("vart")
        self.graph = xir.Graph.deserialize(path)  # kept: the runners refer to it
        found = {part.get_name(): part for part in self.graph.get_root_subgraph().toposort_child_subgraph()}
        lost = [name for name in names if name not in found or device(found[name]) != "DPU"]
        if lost:
            raise CallError(f"the vendor's xir finds no DPU subgraph {lost[0]!r} in the file")
        self.runners = [[vart.Runner.create_runner(found[name], MODE) for name in names] for _ in range(count)]
        self.inputs = [[Places(runner.get_input_tensors()) for runner in row] for row in self.runners]
        self.outputs = [[Places(runner.get_output_tensors()) for runner in row] for row in self.runners]
        self.views: List[List[List[Tuple[List[Any], List[Any]]]]] = []

    def parts(self) -> List[Dict[str, Any]]:
        """The tensors of each part, batch included."""
        return [{"inputs": i.tensors, "outputs": o.tensors} for i, o in zip(self.inputs[0], self.outputs[0])]

    def map(self, memory: Any, slots: int, stride: int, parts: List[Dict[str, Any]]) -> None:
        """Make the arrays, once."""
        self.views = [
            [
                [
                    (i.views(memory, start, part["inputs"]), o.views(memory, start, part["outputs"]))
                    for i, o, part in zip(self.inputs[index], self.outputs[index], parts)
                ]
                for start in range(index * slots * stride, (index + 1) * slots * stride, stride)
            ]
            for index in range(len(self.runners))
        ]

    def close(self) -> None:
        """Free the card; the runners go before the graph that they refer to."""
        self.views = []
        self.runners = []
        self.graph = None


class Server:
    """Does what the messages say."""

    def __init__(self, link: Link, memory: int, opening: float, job: float) -> None:
        self.link, self.memory, self.opening, self.limit = link, memory, opening, job
        self.card: Any = None
        self.flying: Deque[Tuple[int, Any, Any]] = deque()

    def serve(self) -> None:
        """Until the other side says so or ends; what was started is finished, and the card is freed."""
        patience = self.link.silence
        try:
            while True:
                for message in self.link.messages(patience):
                    if message["do"] == "end":
                        return
                    self.act(message)
                if self.flying:
                    self.finish()
                patience = (self.link.silence, LINGER)[len(self.flying)] if len(self.flying) < 2 else 0
        except (EOFError, BrokenPipeError) as error:
            sys.stderr.write(f"unmask worker: {error}\n")
        finally:
            self.close()

    def act(self, message: Dict[str, Any]) -> None:
        """One message that is not "end"."""
        do = message["do"]
        try:
            with Limit(self.limit if do == "run" else self.opening):
                if do == "run":
                    self.start(message)
                elif do == "beat":
                    self.link.say(said="beat")
                elif do == "open":
                    self.card = Card(message["model"], message["parts"], message["runners"])
                    self.link.say(said="opened", parts=self.card.parts())
                elif do == "map":
                    shared = mmap.mmap(self.memory, message["size"])
                    self.card.map(shared, message["slots"], message["stride"], message["parts"])
                    self.link.say(said="mapped")
                else:
                    raise CallError(f"there is no {do!r} to do")
        except BrokenPipeError:
            raise
        except Exception as error:
            self.link.say(said="failed", job=message.get("job"), why=told(error))

    def start(self, message: Dict[str, Any]) -> None:
        """Start a job; others may be running."""
        runner = self.card.runners[message["runner"]][message["part"]]
        inputs, outputs = self.card.views[message["runner"]][message["slot"]][message["part"]]
        number = runner.execute_async(inputs, outputs)
        if number[1] != 0:
            raise CallError(f"execute_async gave the status {number[1]}")
        self.flying.append((message["job"], runner, number))

    def finish(self) -> None:
        """Wait for the oldest job."""
        job, runner, number = self.flying.popleft()
        try:
            with Limit(self.limit):
                status = runner.wait(number)
            if status:
                raise CallError(f"wait gave the status {status}")
        except Exception as error:
            self.link.say(said="failed", job=job, why=told(error))
            return
        self.link.say(said="done", job=job)

    def close(self) -> None:
        """Finish what runs, so that the card is left in order, and free it."""
        with Limit(self.limit):
            while self.flying:
                _job, runner, number = self.flying.popleft()
                try:
                    runner.wait(number)
                except Exception as error:
                    sys.stderr.write(f"unmask worker: {told(error)}\n")
            if self.card is not None:
                self.card.close()


def told(error: BaseException) -> str:
    """An error as one line."""
    return " ".join(f"{type(error).__name__}: {error}".split())


def device(part: Any) -> str:
    """Where a subgraph runs; asking for an attribute that is not there would abort the process."""
    return str(part.get_attr("device")).upper() if part.has_attr("device") else ""


def describe(tensor: Any) -> Dict[str, Any]:
    """A tensor's name, dimensions and fix point. Raises `CallError` for one that int8 does not hold."""
    name, dtype = str(tensor.name), str(tensor.dtype)
    if dtype.lower() not in ("int8", "xint8"):
        raise CallError(f"tensor {name!r} is {dtype}; the DPU's are int8")
    fix_point = int(tensor.get_attr("fix_point")) if tensor.has_attr("fix_point") else None
    return {"name": name, "dims": [int(size) for size in tensor.dims], "fix_point": fix_point}


def libraries() -> List[str]:
    """File names that tell the release: of conda's records here, of the vendor's libraries that this process has
    loaded."""
    folder = os.path.join(sys.prefix, "conda-meta")  # noqa: PTH118
    names = os.listdir(folder) if os.path.isdir(folder) else []  # noqa: PTH208, PTH112
    found = {name for name in names if _PACKAGE.match(name)}
    try:
        with open("/proc/self/maps") as lines:  # noqa: PTH123
            found |= {match.group(1) for match in map(_LIBRARY.search, map(str.rstrip, lines)) if match}
    except OSError:
        pass
    return sorted(found)


def probe() -> Dict[str, Any]:
    """What this interpreter has; "error" says why the modules do not import, None where they do or are not there."""
    found: Dict[str, Any] = {"python": platform.python_version(), "numpy": None, "error": None}
    found["lacks"] = [name for name in ("numpy", "xir", "vart") if importlib.util.find_spec(name) is None]
    if not found["lacks"]:
        try:
            found["numpy"] = str(importlib.import_module("numpy").__version__)
            for module, name in (("xir", "Graph"), ("vart", "Runner")):
                getattr(importlib.import_module(module), name)
        except Exception as error:
            found["error"] = told(error)
    found["libraries"] = libraries()
    return found


def main(arguments: List[str]) -> int:
    """The command line of this file."""
    if arguments == ["probe"]:
        sys.stdout.write("\n" + MARK + json.dumps(dict(probe(), event="probe"), sort_keys=True) + "\n")
        return 0
    if len(arguments) != 5 or arguments[0] != "serve":
        sys.stderr.write("usage: worker.py probe | worker.py serve MEMORY OPEN JOB SILENCE\n")
        return 64
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C ends the other side, and that this one
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    opening, job, silence = map(float, arguments[2:])
    Server(Link(silence), int(arguments[1]), opening, job).serve()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
