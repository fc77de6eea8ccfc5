"""`.npy` files from outside: memory-mapped, never unpickled, with errors that say what is wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xmodel.errors import ArtifactError, UsageError


def load_array(path: Path) -> NDArray[Any]:
    """The array of a `.npy` file, mapped into memory rather than read.

    Raises `UsageError` for a file that is not there and `ArtifactError` for one that is damaged or of another kind.
    """
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except OSError as error:
        raise UsageError(f"Cannot read this array: {error.strerror or error}.", where=str(path)) from error
    except (ValueError, EOFError, OverflowError, SyntaxError, MemoryError) as error:
        raise ArtifactError(f"This is not a readable .npy array: {error}", where=str(path)) from error
    if not isinstance(array, np.ndarray):
        raise ArtifactError("This is an .npz archive; a single .npy array is needed.", where=str(path))
    return array
