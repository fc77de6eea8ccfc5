"""As much of torch as the worker and the stand-in tool use, for interpreters that lack it. Python 3.6 syntax."""

import pickle
from pathlib import Path
from typing import Any

from numpy import ndarray

__version__ = "1.4.0"


class device:  # noqa: N801
    def __init__(self, name: str) -> None:
        self.type = name


class cuda:  # noqa: N801
    @staticmethod
    def is_available() -> bool:
        return False


class no_grad:  # noqa: N801
    def __enter__(self) -> None:
        """Nothing to switch off."""

    def __exit__(self, *_error: Any) -> None:
        """Nothing to switch on."""


class Tensor:
    def __init__(self, array: ndarray) -> None:
        self.array, self.shape = array, array.shape

    def __len__(self) -> int:
        return len(self.array)

    def __getitem__(self, rows: slice) -> "Tensor":
        return Tensor(self.array[rows])

    def to(self, _device: device) -> "Tensor":
        return self

    def contiguous(self) -> "Tensor":
        return self

    def detach(self) -> "Tensor":
        return self

    def cpu(self) -> "Tensor":
        return self

    def numpy(self) -> ndarray:
        return self.array


def from_numpy(array: ndarray) -> Tensor:
    return Tensor(array)


def save(value: Any, path: str) -> None:
    Path(path).write_bytes(pickle.dumps(value))


def load(path: str) -> Any:
    return pickle.loads(Path(path).read_bytes())
