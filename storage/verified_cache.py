"""Local, verified copies of stored objects for what needs a file: players, ranges, decoders."""

import os
import secrets
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from enforcement.errors import ConfigurationError, StoreUnavailable
from enforcement.footage import StoredObject
from storage.canonical import sha256_file
from storage.evidence_store import EvidenceStore

_PIECE_BYTES = 256 * 1024

_LEFTOVER_AGE_S = 3600.0
"""A half-fetched file this old belongs to a process that was killed."""


class VerifiedCache:
    """Hands out a copy only after its SHA-256 was checked.

    It is checked on fetching, and again whenever the file is not the very one that this process
    checked (another inode, size, mtime or ctime). The least recently used copies make room.
    Thread-safe; processes may share a folder.
    """

    def __init__(self, store: EvidenceStore, folder: Path, max_bytes: int) -> None:
        self._store = store
        self._folder = folder
        self._max_bytes = max_bytes
        self._checked: dict[str, tuple[int, int, int, int]] = {}
        self._used_at_ns: dict[str, int] = {}
        self._guard = threading.Lock()
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as exc:
            raise ConfigurationError(f"the evidence cache {folder} cannot be made: {exc}") from exc

    def path(self, obj: StoredObject) -> Path:
        """A verified local file with the object's bytes; open it soon, it may be evicted later.

        Raises EvidenceError when the stored bytes are not those recorded, StoreUnavailable when
        the store or the folder fails, ConfigurationError when the object exceeds the cache.
        """
        if obj.size > self._max_bytes:
            raise ConfigurationError(
                f"the evidence cache of {self._max_bytes} bytes cannot hold {obj.size} bytes"
            )
        target = self._folder / obj.sha256
        try:
            with self._guard:
                if self._is_verified(target):
                    return target
            self._fetch(obj, target)
        except OSError as exc:
            raise StoreUnavailable(f"the evidence cache {self._folder} fails: {exc}") from exc
        return target

    def open_range(self, obj: StoredObject, start: int, length: int) -> Iterator[bytes]:
        """``length`` bytes from ``start``, in pieces; verified and opened before this returns.

        Raises ValueError for a range that is not inside the object, else as :meth:`path` does.
        """
        if start < 0 or length < 0 or start + length > obj.size:
            raise ValueError(f"range {start}+{length} lies outside {obj.size} bytes")
        try:
            file = self.path(obj).open("rb")
        except OSError as exc:
            raise StoreUnavailable(f"{obj.key} was evicted at this moment") from exc
        return _pieces(file, start, length)

    def _fetch(self, obj: StoredObject, target: Path) -> None:
        incoming = self._folder / f".{obj.sha256}.{secrets.token_hex(4)}"
        try:
            self._store.fetch(obj, incoming)
            incoming.chmod(0o400)
            with self._guard:
                self._make_room(obj.size, keep=target)
                incoming.replace(target)
                self._checked[target.name] = _identity(target)
                self._used_at_ns[target.name] = time.time_ns()
        finally:
            incoming.unlink(missing_ok=True)

    def _is_verified(self, target: Path) -> bool:
        try:
            identity = _identity(target)
            if self._checked.get(target.name) != identity:
                if sha256_file(target) != target.name:
                    return False
                self._checked[target.name] = identity
        except FileNotFoundError:
            return False
        self._used_at_ns[target.name] = time.time_ns()
        return True

    def _make_room(self, incoming_bytes: int, keep: Path) -> None:
        copies = []
        for entry in os.scandir(self._folder):
            try:
                stat = entry.stat(follow_symlinks=False)
            except FileNotFoundError:
                # Another thread's draft, put in place since the folder was listed.
                continue
            if entry.name.startswith("."):
                if time.time() - stat.st_mtime > _LEFTOVER_AGE_S:
                    Path(entry).unlink(missing_ok=True)
            elif entry.name != keep.name:
                used_at_ns = max(self._used_at_ns.get(entry.name, 0), stat.st_mtime_ns)
                copies.append((used_at_ns, stat.st_size, entry.name))
        total = incoming_bytes + sum(size for _, size, _ in copies)
        for _, size, name in sorted(copies):
            if total <= self._max_bytes:
                break
            (self._folder / name).unlink(missing_ok=True)
            self._checked.pop(name, None)
            self._used_at_ns.pop(name, None)
            total -= size


def _identity(path: Path) -> tuple[int, int, int, int]:
    """What changes when a file is replaced or written to: inode, size, mtime and ctime."""
    stat = path.stat()
    return stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns


def _pieces(file: BinaryIO, start: int, length: int) -> Iterator[bytes]:
    with file:
        file.seek(start)
        while length > 0 and (piece := file.read(min(length, _PIECE_BYTES))):
            length -= len(piece)
            yield piece
