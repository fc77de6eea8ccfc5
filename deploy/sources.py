"""Where the float network comes from: a registered one, a Python file of the user's, or a torch.export program."""

from __future__ import annotations

import hashlib
import math
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

from deploy.detectors import FloatNetwork
from xmodel.artifact import sha256
from xmodel.errors import UsageError
from xmodel.graph import Graph
from xmodel.preprocess import MAX_SIDE, Preprocessing

_NAME = re.compile(r"[A-Za-z][\w-]{0,99}", re.ASCII)


class Source(Protocol):
    """A float network that is to be quantized."""

    @property
    def title(self) -> str:
        """What it is called in messages and reports."""
        ...

    def inputs(self) -> dict[str, str]:
        """What identifies it in `run.json`: name → sha256."""
        ...

    def arguments(self) -> dict[str, Any]:
        """The choices that made it, for `run.json`."""
        ...

    def graph(self) -> Graph:
        """The captured float graph, with its preprocessing. Raises `UnmaskError` for what cannot be captured."""
        ...


@dataclass(frozen=True, slots=True)
class ImageOptions:
    """How images become the input of a network that does not say so itself; None: not given.

    `size` is (height, width) in pixels; `mean` and `std` are per channel, for pixels in [0, 1].
    """

    size: tuple[int, int] | None = None
    mean: tuple[float, float, float] | None = None
    std: tuple[float, float, float] | None = None
    color_order: Literal["RGB", "BGR"] | None = None

    def __post_init__(self) -> None:
        """Raises `UsageError` for values that make no sense."""
        if self.size and not all(0 < side <= MAX_SIDE for side in self.size):
            raise UsageError(f"An image of {self.size[0]}x{self.size[1]} pixels cannot be; at most {MAX_SIDE} a side.")
        if not all(math.isfinite(v) for v in (*(self.mean or ()), *(self.std or ()))) or min(self.std or (1.0,)) <= 0:
            raise UsageError(f"--mean {self.mean} and --std {self.std} must be finite, and --std above 0.")

    @property
    def given(self) -> bool:
        """Whether anything is."""
        return any(value is not None for value in (self.size, self.mean, self.std, self.color_order))

    def store(self, graph: Graph) -> Graph:
        """`graph` with this preprocessing in its attributes. Raises `UsageError` where it takes other images."""
        shape = graph.inputs[0].output.shape
        if not self.given:
            return graph
        if len(shape) != 4 or shape[3] != 3:
            raise UsageError(f"{graph.name} takes {list(shape)}, no 3-channel image: the image options do not fit.")
        if self.size and self.size != shape[1:3]:
            raise UsageError(f"{graph.name} takes images of {shape[1]}x{shape[2]}, not {self.size[0]}x{self.size[1]}.")
        a, b, c = self.std or (1.0, 1.0, 1.0)
        spec = Preprocessing(
            width=shape[2],
            height=shape[1],
            color_order=self.color_order or "RGB",
            mean=self.mean or (0.0, 0.0, 0.0),
            scale=(1 / a, 1 / b, 1 / c),
        )
        return spec.store(graph)


def check_name(name: str | None) -> str | None:
    """`name` when it can be part of file names and op names. Raises `UsageError`."""
    if name is not None and not _NAME.fullmatch(name):
        raise UsageError(f"{name!r} cannot be a network's name.", hint="Use letters, digits, _ and -; a letter first.")
    return name


@dataclass(frozen=True, slots=True)
class Registered:
    """A network of `model.registry`, which knows its preprocessing."""

    network: FloatNetwork
    name: str | None = None

    @property
    def title(self) -> str:
        """Its registered name."""
        return self.network.model

    def inputs(self) -> dict[str, str]:
        """The weights."""
        return self.network.inputs()

    def arguments(self) -> dict[str, Any]:
        """Which network."""
        return {"model": self.network.model, "seed": self.network.seed, "name": self.name}

    def graph(self) -> Graph:
        """Captured with the registered input size."""
        import numpy as np

        from model import registry
        from quantize.pipeline import float_graph

        module, spec = self.network.load()
        name = self.name or registry.find(self.network.model).class_name
        return float_graph(module, name, np.zeros((1, 3, spec.height, spec.width), np.float32), spec)


@dataclass(frozen=True, slots=True)
class Program:
    """A `torch.export` program in a file."""

    path: Path
    name: str | None = None
    images: ImageOptions = field(default_factory=ImageOptions)

    @property
    def title(self) -> str:
        """The file's name."""
        return self.path.name

    def inputs(self) -> dict[str, str]:
        """The file."""
        return {"program": sha256(_file(self.path, "program"))}

    def arguments(self) -> dict[str, Any]:
        """How images are prepared for it."""
        return {"model": self.path.name, "seed": None, "name": self.name, **_prepared(self.images)}

    def graph(self) -> Graph:
        """Named after the exported module's class where no name is given."""
        from quantize.pipeline import float_graph
        from quantize.program import class_name, read_program

        program = read_program(self.path)
        return self.images.store(float_graph(program, self.name or check_name(class_name(program)) or "Model"))


@dataclass(slots=True)
class ModuleFile:
    """A class (or a function that makes a module) in a Python file of the user's, which is run.

    `shape` is the (C, H, W) of its input. What the file imports may change without the file, so the captured
    graph itself tells whether a result is up to date.
    """

    path: Path
    attribute: str
    shape: tuple[int, ...]
    weights: Path | None = None
    seed: int | None = None
    name: str | None = None
    images: ImageOptions = field(default_factory=ImageOptions)
    _graph: Graph | None = None

    @property
    def title(self) -> str:
        """As on the command line."""
        return f"{self.path.name}:{self.attribute}"

    def inputs(self) -> dict[str, str]:
        """The file, the weights and the captured graph."""
        from xmodel import file

        found = {"module": sha256(_file(self.path, "Python file"))}
        found |= {"weights": sha256(_file(self.weights, "weights file"))} if self.weights else {}
        return found | {"graph": hashlib.sha256(file.dumps(self.graph())).hexdigest()}

    def arguments(self) -> dict[str, Any]:
        """Which class, and how images are prepared for it."""
        return {"model": self.title, "seed": self.seed, "name": self.name, **_prepared(self.images)}

    def graph(self) -> Graph:
        """The file is run once; the module is made in evaluation mode."""
        if self._graph is None:
            self._graph = self.images.store(self._capture())
        return self._graph

    def _capture(self) -> Graph:
        import numpy as np

        from model.checkpoint import load_weights
        from quantize.pipeline import float_graph
        from quantize.user_module import beside, load_module

        with beside(self.path):
            module = load_module(self.path, self.attribute, self.seed or 0)
            if self.weights is not None:
                load_weights(module, self.weights, ignore=())
            return float_graph(module, self.name or type(module).__name__, np.zeros((1, *self.shape), np.float32))


def _prepared(images: ImageOptions) -> dict[str, Any]:
    std, mean = (None if values is None else list(values) for values in (images.std, images.mean))
    return {"mean": mean, "std": std, "color_order": images.color_order}


def _file(path: Path, what: str) -> Path:
    if not path.is_file():
        raise UsageError(f"There is no such {what}.", where=str(path))
    return path


@dataclass(frozen=True, slots=True)
class NetworkOptions:
    """How the command line names a network: one of `model`, `module` ("net.py:Class") and `program`; else the
    network shipped."""

    model: str | None = None
    module: str | None = None
    program: Path | None = None
    weights: Path | None = None
    seed: int | None = None
    name: str | None = None

    def source(self, images: ImageOptions, shape: tuple[int, ...] | None) -> Source:
        """The network; `shape` is that of the calibration images where they say so.

        Raises `UsageError` for options that do not go together.
        """
        check_name(self.name)
        named = {"--model": self.model, "--module": self.module, "--program": self.program}
        given = [option for option, value in named.items() if value is not None]
        if len(given) > 1:
            raise UsageError(f"{' and '.join(given)} exclude each other: each names the network.")
        if self.program is not None:
            if self.weights is not None or self.seed is not None:
                raise UsageError("A program carries its weights: --weights and --seed do not go with --program.")
            return Program(_file(self.program, "program"), self.name, images)
        if self.module is not None:
            return self._module(self.module, images, shape)
        if images.given:
            raise UsageError("A registered network brings its own preprocessing: leave the image options out.")
        return Registered(FloatNetwork(self.model or "uynet-lite", self.weights, self.seed), self.name)

    def _module(self, text: str, images: ImageOptions, shape: tuple[int, ...] | None) -> ModuleFile:
        from quantize.user_module import split

        path, attribute = split(text)
        found = shape or ((3, *images.size) if images.size else None)
        if found is None:
            raise UsageError(
                f"The size of the images that {text} takes is not known.", hint="Give --input-size HEIGHT WIDTH."
            )
        _file(path, "Python file")
        return ModuleFile(path, attribute, found, self.weights, self.seed, self.name, images)
