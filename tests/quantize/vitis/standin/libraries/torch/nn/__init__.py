"""Layers that have names and nothing else. Python 3.6 syntax."""
# ruff: noqa: UP006, UP035

from typing import Any, Dict, Iterator, List


class Incompatible:
    def __init__(self, missing: List[str], unexpected: List[str]) -> None:
        self.missing_keys, self.unexpected_keys = missing, unexpected


class Module:
    def __init__(self, *_settings: Any, **_more: Any) -> None:
        self._modules: Dict[str, "Module"] = {}  # noqa: UP037

    def add_module(self, name: str, module: "Module") -> None:
        self._modules[name] = module

    def paths(self, prefix: str = "") -> Iterator[str]:
        for name, module in self._modules.items():
            yield prefix + name
            yield from module.paths(f"{prefix}{name}.")

    def load_state_dict(self, state: Dict[str, Any], strict: bool = True) -> Incompatible:
        paths = set(self.paths())
        return Incompatible([], [name for name in state if name.rpartition(".")[0] not in paths])

    def eval(self) -> "Module":
        return self

    def to(self, _device: Any) -> "Module":
        return self


class Conv2d(Module):
    pass


class ConvTranspose2d(Module):
    pass


class BatchNorm2d(Module):
    pass


class Linear(Module):
    pass


class ReLU(Module):
    pass


class Sigmoid(Module):
    pass


class MaxPool2d(Module):
    pass


class AvgPool2d(Module):
    pass
