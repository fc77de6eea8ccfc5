"""The native kernels under AddressSanitizer and UndefinedBehaviorSanitizer, or valgrind.

    python benchmarks/native_sanitizers.py [--valgrind] [--isa portable|avx2|vnni|amx ...]

Builds the library apart, runs the self-test, random layers, a whole network on several threads, and the recorded
vectors where they lie beside the checkout, and compares every result with the reference. The sanitizers end the
process at their first finding; of valgrind's findings those count that name the kernels, for interpreters have their
own. Exit code 0 means clean. VNNI and AMX run in the software model.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import numpy as np  # noqa: E402

from runtime.emulator import reference  # noqa: E402
from runtime.emulator.layer import Layer  # noqa: E402
from runtime.emulator.native import build, native_selftest  # noqa: E402
from runtime.emulator.native.library import Isa, Library, PackedConvolution  # noqa: E402
from runtime.emulator.operations import Function  # noqa: E402
from runtime.emulator.program import Program  # noqa: E402
from runtime.emulator.spec import Concat, Rules  # noqa: E402
from tests.runtime.emulator.networks import uynet  # noqa: E402
from tests.runtime.emulator.vectors import OPS, PROGRAMS, index, vector  # noqa: E402
from xmodel.graph import Array  # noqa: E402

SANITIZED = ("-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-fno-omit-frame-pointer")
DEBUGGED = ("-O2", "-g")


def check(isa: Isa, flags: tuple[str, ...], layers: int) -> int:
    """Run everything on `isa`; how many results were compared. Raises `SystemExit` for one that is wrong."""
    modelled = build.MODEL[1:] if isa in (Isa.VNNI, Isa.AMX) else ()
    library = Library(build.build((*flags, *modelled)), isa)
    if library.isa is not isa:
        return 0
    library.set_threads(3)
    native_selftest.verified = lambda: library
    _demand(native_selftest.exact(library), "the self-test")
    return 1 + _network() + _vectors() + _layers(library, layers) + (_tiles(library, layers) if isa is Isa.AVX2 else 0)


def _demand(equal: bool, what: str) -> None:
    if not equal:
        raise SystemExit(f"{what}: not the reference's bytes.")


def _network() -> int:
    graph = uynet(4, 32)
    x = np.random.default_rng(0).integers(-128, 128, (3, 32, 32, 3), np.int8)
    native, feeds = Program(graph, "native"), {"data-fix_0": x}
    wanted = Program(graph, "reference").run(feeds, dump=True)
    found = [*native.run(feeds, dump=True).items(), *native.run(feeds).items()]
    for name, values in found:
        _demand(np.array_equal(values, wanted[name]), name)
    return len(found)


def _vectors() -> int:
    count = 0
    for folder, rules in ((OPS, Rules.CPU_RUNNER), (PROGRAMS, Rules.CARD)):
        for name, entry in index(folder).items():
            if "+" in entry["op"] or "allclose" in entry.get("compare", ""):
                continue
            case = vector(folder, name)
            (got,) = Program(case.graph, "native", rules).run(case.feeds).values()
            _demand(np.array_equal(got, case.output), name)
            count += 1
    return count


def _layers(library: Library, count: int) -> int:
    from tests.runtime.emulator.cases import layers

    def one(case: tuple[Layer, Array]) -> None:
        _same(native_selftest.convolution(library, case[0]), *case)

    _drawn(one, count, case=layers())
    return count


def _tiles(library: Library, count: int) -> int:
    """3x3 layers in Winograd's tiles of either size, and pixels one by one."""
    from hypothesis import strategies as st

    from tests.runtime.emulator import test_native_pointwise, test_native_winograd
    from tests.runtime.emulator.native import packed

    def one(case: tuple[Layer, Array], tile: int) -> None:
        _same(packed(case[0], tile, library), *case)

    _drawn(one, count, case=test_native_winograd.layers(), tile=st.sampled_from([2, 4]))
    _drawn(one, count, case=test_native_pointwise.layers(), tile=st.just(1))
    return 2 * count


def _same(function: Function | None, layer: Layer, x: Array) -> None:
    def wanted(x: Array) -> Array:
        return reference.convolution(layer.spec, x, layer.weights, layer.bias)

    _demand(function is not None and np.array_equal(function(x), wanted(x)), str(layer.spec))
    if isinstance(function, PackedConvolution) and function.joins and x.shape[3] > 1:
        join, parts = Concat(3, (1, -2)), np.split(x, [x.shape[3] // 2], axis=3)
        got = function.joined(join.rescale, parts)
        _demand(np.array_equal(got, wanted(reference.concat(join, *parts))), f"{layer.spec} of two inputs")


def _drawn(test: Callable[..., None], count: int, **strategies: Any) -> None:
    from hypothesis import HealthCheck, given, settings

    setting = settings(deadline=None, max_examples=count, database=None, suppress_health_check=list(HealthCheck))
    setting(given(**strategies)(test))()


def _findings(log: Path) -> int:
    """How many lines of valgrind's log name the kernels; they are printed."""
    named = [line for line in log.read_text(errors="replace").splitlines() if "unmask::" in line or "unmask_" in line]
    print("\n".join(named[:50]), end="\n" if named else "")
    log.unlink()
    return len(named)


def main() -> int:
    """Start a child under the tool for every instruction set; the first exit code that is not 0."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    names = [isa.name.lower() for isa in Isa]
    parser.add_argument("--valgrind", action="store_true", help="valgrind's memcheck instead of the sanitizers; slow")
    parser.add_argument("--isa", nargs="+", choices=names, default=names)
    parser.add_argument("--layers", type=int, help="random layers; default 300, with valgrind 20")
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    flags = DEBUGGED if chosen.valgrind else SANITIZED
    layers = chosen.layers or (20 if chosen.valgrind else 300)
    if chosen.inside:
        for name in chosen.isa:
            print(f"{name}: {check(Isa[name.upper()], flags, layers)} results, all the reference's bytes", flush=True)
        return 0
    environment = {**os.environ, "PYTHONMALLOC": "malloc", "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    command = [sys.executable, __file__, "--inside", "--layers", str(layers)]
    log = Path(tempfile.gettempdir()) / f"native-{os.getpid()}.log"
    if chosen.valgrind:
        command = ["valgrind", f"--log-file={log}", *command, "--valgrind"]
    else:
        compiler = build.compiler() or ["c++"]
        found = subprocess.run([compiler[0], "-print-file-name=libasan.so"], capture_output=True, text=True, check=True)
        # leaks: the interpreter's own are not these kernels'
        environment |= {"LD_PRELOAD": found.stdout.strip(), "ASAN_OPTIONS": "detect_leaks=0"}
    for name in chosen.isa:
        code = subprocess.run([*command, "--isa", name], env=environment, cwd=ROOT).returncode
        if chosen.valgrind:
            code = code or _findings(log)
        if code:
            print(f"{name}: exit code {code}", file=sys.stderr)
            return code
    return 0


if __name__ == "__main__":
    sys.exit(main())
