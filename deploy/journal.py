"""The journal of a run over crops: what is done so far, kept so that an interrupted run goes on where it was."""

from __future__ import annotations

import fcntl
import json
import shutil
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, fields
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from deploy.predictions import Prediction
from deploy.rows import Rows, whole_rows
from xmodel.artifact import read_json, storage, write_json
from xmodel.errors import UnmaskError, UsageError

FOLDER = ".journal"  # beside the results; gone once they are complete
_HEAD, _ENTRIES, _LOGITS, _LOCK = "journal.json", "entries", "logits", "lock"
_LONGEST_LINE = 1 << 16


@dataclass(frozen=True, slots=True)
class Entry:
    """One finished crop: its prediction, why its true mask was not used, and the CRC-32 of its logits, as `logits_crc`
    takes it, and of its mask file."""

    prediction: Prediction
    bad_mask: str | None
    logits_crc: int
    mask_crc: int


_COLUMNS = tuple(field.name for field in fields(Prediction))
_FIELDS = tuple(field.name for field in fields(Entry))


class Journal:
    """Predictions and mask logits of finished crops in `folder`, for the run that `key` identifies.

    Each crop's line in the file of entries follows its mask and its logits, so that a line means that they are
    there. Opening keeps the entries up to the first that does not agree with them; those of another key or with a
    damaged head are dropped, and `ignored` says why.
    """

    def __init__(
        self,
        out: Path,
        masks: str,
        logits: str,
        key: str,
        shape: tuple[int, ...],
        earlier: Iterable[str] = (),
        step: float = 1.0,
    ) -> None:
        """`out` holds the folder `masks` and, at the end, the file `logits`; `earlier` are outputs to be removed.

        `step`: what 1 means in logits that are int8, a power of two.
        """
        self._step = np.float32(step)
        self._real = np.empty(shape, np.float32)
        self.folder, self.masks, self.final = out / FOLDER, out / masks, out / logits
        self.key, self.ignored = key, ""
        self.done: list[Entry] = []
        self.earlier = set(earlier)
        self._lines, self._stream, self._logits = self._open(shape)

    def add(self, entry: Entry, logits: NDArray[Any] | None) -> None:
        """A crop is finished; its mask file is in place. `logits` (H, W, 2): int8 or float32; None for one without a
        result."""
        with storage(self.folder):
            if logits is not None:
                self._logits.append(self._as_real(logits) if logits.dtype == np.int8 else logits)
                self._stream.flush()
            self._lines.write(_line(entry))
            self._lines.flush()

    def finish(self) -> None:
        """Give the logits their final name, float32 (count, H, W, 2).

        The entries stay until `remove`, and lead back to the logits should the rest of the run fail.
        """
        with storage(self.final):
            self._logits.close()
            (self.folder / _LOGITS).replace(self.final)

    def close(self) -> None:
        """Close the files; what they hold stays."""
        for stream in (self._lines, self._stream):
            with suppress(OSError):
                stream.close()

    def _open(self, shape: tuple[int, ...]) -> tuple[IO[bytes], IO[bytes], Rows]:
        same = self._read_head()
        with storage(self.folder):
            entries, logits = self.folder / _ENTRIES, self.folder / _LOGITS
            if same and not logits.exists() and self.final.exists():
                self.final.replace(logits)
            for path in (entries, logits):
                path.touch()
            found = list(_entries(entries))
            if not same:
                self.earlier |= {f"{self.masks.name}/{entry.prediction.mask}" for entry, _ in found}
                found = []
            stream = logits.open("r+b")
            kept = self._agreeing(found, stream, shape) if found else []
            lines = entries.open("r+b")
            lines.seek(kept[-1][1] if kept else 0)
            lines.truncate()
            write_json(self.folder / _HEAD, {"key": self.key, "earlier": sorted(self.earlier)})
            self.done = [entry for entry, _ in kept]
            rows = Rows(stream, shape, sum(not entry.prediction.error for entry in self.done))
        return lines, stream, rows

    def _read_head(self) -> bool:
        """Whether the files belong to this run; takes over what earlier runs left."""
        path = self.folder / _HEAD
        if not path.exists():
            return False
        try:
            head = read_json(path)
            self.earlier |= {str(name) for name in head["earlier"]}
            if head["key"] == self.key:
                return True
            self.ignored = "it belongs to other inputs or settings"
        except (UnmaskError, KeyError, TypeError):
            self.ignored = "it is damaged"
        return False

    def _agreeing(
        self, found: Sequence[tuple[Entry, int]], stream: IO[bytes], shape: tuple[int, ...]
    ) -> list[tuple[Entry, int]]:
        """The entries before the first whose logits or mask are not what it says."""
        rows = whole_rows(stream, shape)
        for number, (entry, _) in enumerate(found):
            if entry.prediction.error:
                continue
            if entry.logits_crc not in self._row_crcs(next(rows, b"")) or self._mask_crc(entry) != entry.mask_crc:
                self.ignored = f"it is damaged after {number} crops"
                return list(found[:number])
        return list(found)

    def _row_crcs(self, row: bytes) -> Iterator[int]:
        """The CRC-32 of all logits that make this row of the file: of int8, where there are such, and of real ones."""
        if row:
            with np.errstate(all="ignore"):
                logits = np.rint(np.frombuffer(row, "<f4").reshape(self._real.shape) / self._step).astype(np.int8)
            if self._as_real(logits).astype("<f4").tobytes() == row:
                yield logits_crc(logits)
        yield checksum(row)

    def _as_real(self, logits: NDArray[np.int8]) -> NDArray[np.float32]:
        """Valid until the next call: memory that is in the cache already takes half the time."""
        return np.multiply(logits, self._step, out=self._real, dtype=np.float32)

    def _mask_crc(self, entry: Entry) -> int | None:
        with suppress(OSError):
            return checksum((self.masks / entry.prediction.mask).read_bytes())
        return None


def checksum(data: bytes | memoryview) -> int:
    """CRC-32."""
    return zlib.crc32(data)


def logits_crc(logits: NDArray[Any]) -> int:
    """CRC-32 of logits: int8 as the network gave them, a quarter of the bytes; others as they lie in the file."""
    return checksum(np.ascontiguousarray(logits, np.int8 if logits.dtype == np.int8 else "<f4").data)


def _line(entry: Entry) -> bytes:
    prediction = {name: getattr(entry.prediction, name) for name in _COLUMNS}
    text = json.dumps({**{name: getattr(entry, name) for name in _FIELDS}, "prediction": prediction}).encode()
    return b"%08x %s\n" % (checksum(text), text)


def _entries(path: Path) -> Iterator[tuple[Entry, int]]:
    """The whole entries of a file, and where each ends; stops at the first that is damaged or cut off."""
    with path.open("rb") as stream:
        while line := stream.readline(_LONGEST_LINE):
            crc, _, text = line.rstrip(b"\n").partition(b" ")
            if not line.endswith(b"\n") or crc != b"%08x" % checksum(text):
                return
            try:
                found = json.loads(text)
                prediction = found.pop("prediction")
                if set(prediction) != set(_COLUMNS):
                    return
                yield Entry(Prediction(**prediction), **found), stream.tell()
            except (ValueError, TypeError, KeyError, AttributeError):
                return


@contextmanager
def held(out: Path, masks: str, afresh: bool) -> Iterator[None]:
    """Keep other processes from the journal in `out`; drop what it holds when `afresh`.

    Raises `UsageError` when another process has it, `UnavailableError` when the disk is full.
    """
    folder = out / FOLDER
    with storage(folder):
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / _LOCK).open("wb")
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UsageError(
                "Another process is writing to this output folder.", where=str(out), hint="Wait for it, or use --out."
            ) from None
        if afresh:
            (folder / _ENTRIES).unlink(missing_ok=True)
        for place in (out, out / masks, folder):  # temporary files of a killed process: `xmodel.artifact.atomic`
            for part in place.glob(".*.*.part"):
                with suppress(OSError):
                    part.unlink()
        yield


def remove(out: Path) -> None:
    """Delete the journal in `out`: the results are complete."""
    shutil.rmtree(out / FOLDER, ignore_errors=True)
