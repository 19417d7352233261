"""The disk spool: where batches wait while the store is away.

A batch is in the spool once its file has its final name and both file and folder are on disk;
until then it is a temporary file that the next start removes. Its name holds all that is known
about it: ``<first received>.<feed>.<sha256>.jsonl``, so names sort by age.
"""

import contextlib
import errno
import hashlib
import os
import re
import threading
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from enforcement.errors import EvidenceError, SpoolFull, StoreUnavailable

_STAMP = "%Y%m%dT%H%M%S%f"
_NAME = re.compile(
    r"(?P<stamp>\d{8}T\d{12})\.(?P<feed>[a-z0-9][a-z0-9_-]{0,63})\.(?P<sha256>[0-9a-f]{64})\.jsonl"
)
_DRAFT_SUFFIX = ".part"
_FULL_DISK = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


@dataclass(frozen=True)
class SpooledBatch:
    """A batch that waits on disk."""

    path: Path
    feed_id: str
    first_received_at: datetime
    sha256: str
    size: int

    def read(self) -> bytes:
        """The batch. Raises EvidenceError if these are not the bytes that were put in, and
        StoreUnavailable if the file can't be read."""
        try:
            batch = self.path.read_bytes()
        except OSError as error:
            raise StoreUnavailable(f"{self.path} cannot be read: {error.strerror}") from error
        if hashlib.sha256(batch).hexdigest() != self.sha256:
            raise EvidenceError(f"{self.path} is damaged: its digest is not that of its name")
        return batch


class Spool:
    """A bounded folder of batches, of all feeds together. Thread-safe; one process at a time.

    Raises StoreUnavailable where the folder can't be made or read.
    """

    def __init__(self, folder: Path, max_bytes: int) -> None:
        self._folder, self._max_bytes = folder, max_bytes
        self._lock = threading.Lock()
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            for draft in folder.glob(f"*{_DRAFT_SUFFIX}"):
                draft.unlink()
            # What is set aside counts too, or damaged files could fill the disk.
            self._used = sum(path.stat().st_size for path in folder.iterdir())
        except OSError as error:
            raise StoreUnavailable(f"the spool {folder} is out of order: {error}") from error

    @property
    def used_bytes(self) -> int:
        return self._used

    def put(self, feed_id: str, batch: bytes, first_received_at: datetime) -> None:
        """Have the batch on disk, to survive a crash or a power cut; the same one twice is one.

        Raises SpoolFull where there is no room, StoreUnavailable where the disk fails.
        """
        sha256 = hashlib.sha256(batch).hexdigest()
        stamp = f"{first_received_at.astimezone(UTC):{_STAMP}}"
        path = self._folder / f"{stamp}.{feed_id}.{sha256}.jsonl"
        with self._lock:
            if path.exists():
                return
            if self._used + len(batch) > self._max_bytes:
                raise SpoolFull(
                    f"the spool {self._folder} is full ({self._used} of {self._max_bytes} bytes)"
                )
            self._write(path, batch)
            self._used += len(batch)

    def oldest_first(self) -> list[SpooledBatch]:
        """All that wait now."""
        found = []
        for path in sorted(self._folder.iterdir()):
            match = _NAME.fullmatch(path.name)
            if match is None:
                continue
            received = datetime.strptime(match["stamp"], _STAMP).replace(tzinfo=UTC)
            with contextlib.suppress(FileNotFoundError):
                size = path.stat().st_size
                found.append(SpooledBatch(path, match["feed"], received, match["sha256"], size))
        return found

    def discard(self, batch: SpooledBatch) -> None:
        """Forget a batch that is filed. Raises StoreUnavailable if the disk fails."""
        with self._lock:
            try:
                batch.path.unlink()
            except FileNotFoundError:
                return
            except OSError as error:
                raise StoreUnavailable(f"{batch.path}: {error.strerror}") from error
            self._used -= batch.size

    def set_aside(self, batch: SpooledBatch) -> None:
        """Keep a damaged batch's file, but don't offer it again."""
        with self._lock:
            batch.path.rename(batch.path.with_suffix(".damaged"))

    def _write(self, path: Path, batch: bytes) -> None:
        draft = path.with_name(path.name + _DRAFT_SUFFIX)
        try:
            with draft.open("wb") as file:
                file.write(batch)
                file.flush()
                os.fsync(file.fileno())
            draft.rename(path)
            _sync_folder(self._folder)
        except OSError as error:
            draft.unlink(missing_ok=True)
            if error.errno in _FULL_DISK:
                raise SpoolFull(f"the disk of the spool {self._folder} is full") from error
            raise StoreUnavailable(
                f"the spool {self._folder} cannot be written: {error.strerror}"
            ) from error


def _sync_folder(folder: Path) -> None:
    """Have the folder's new names on disk too."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
