"""Files of whole drone flights: ``MISSION/FLIGHT/…`` in a folder or under a bucket's prefix."""

import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import NamedTuple, Protocol

from pydantic import TypeAdapter, ValidationError

from enforcement.errors import ConfigurationError, StoreUnavailable
from enforcement.model import Name
from enforcement.places import DroneBucket, DroneFolder
from feeds.drone_bucket import BucketLister, BucketObject, download, lister, prefix_of
from feeds.settled import is_hidden_or_unfinished, settled_status

FILES_MAX = 20_000
"""Of one flight, and as many folders: one that holds more is left out."""

FLIGHTS_MAX = 100_000
"""Of one source; missions, and files that lie beside flights, count as well."""

DEPTH_MAX = 8
"""Parts of a file's name within its flight."""

_FLIGHT_ID_MAX = 128
_STRAY_MAX = 100
_MISSION_ID: TypeAdapter[str] = TypeAdapter(Name)


@dataclass(frozen=True, slots=True)
class FlightFile:
    """A finished file of a flight."""

    mission_id: str
    """The first part of the path below the source."""
    flight_id: str
    """The second one."""
    name: str
    """The rest, relative to the flight, parted by ``/``."""
    size: int
    """Bytes."""
    modified_at: datetime
    """By the clock of the file system or the bucket's server, aware UTC."""
    origin: str
    """The full path, or the object's key."""


@dataclass(frozen=True)
class FlightListing:
    """What a source holds."""

    files: tuple[FlightFile, ...]
    """Finished files of all flights by mission, flight and name."""
    stray: tuple[str, ...]
    """What belongs to no flight and is not taken in: ``path: reason``, printable. At most 100; a
    last line tells how many more there are."""


class _Found(NamedTuple):
    """A finished file before its place is judged."""

    path: str
    """Below the source, parted by ``/``."""
    size: int
    modified_at: datetime
    origin: str


def flight_files(
    source: DroneFolder | DroneBucket,
    now: datetime,
    secrets: Mapping[str, str],
    is_done: Callable[[str, str], bool] = lambda mission_id, flight_id: False,
) -> FlightListing:
    """The finished files of all flights, and what lies there besides.

    A flight for which ``is_done(mission_id, flight_id)`` holds is not entered: so a source may keep
    what was taken in long ago. Left out without a word: hidden and temporary names, in a folder
    also links that lead out of it and files still changing. Objects of a bucket are whole by
    nature. ``secrets`` holds a bucket's keys under the names that the source gives.

    Raises ConfigurationError if the source can't be listed or holds too many flights,
    StoreUnavailable (retry) and CredentialsRefused (retry rarely).
    """
    stray: dict[str, None] = {}
    files: list[FlightFile] = []
    with _tree(source, now, secrets, stray) as tree:
        for mission_id, flight_id in _flights(tree, stray):
            if not is_done(mission_id, flight_id):
                files += _files_of(tree, mission_id, flight_id, stray)
    files.sort(key=lambda file: (file.mission_id, file.flight_id, file.name))
    return FlightListing(tuple(files), _shown(stray))


@contextmanager
def fetched(
    source: DroneFolder | DroneBucket, file: FlightFile, folder: Path, secrets: Mapping[str, str]
) -> Iterator[Path]:
    """The file's bytes as a local file: of a folder the file itself, which must not be changed;
    of a bucket a download into ``folder``, gone at the end, with the same suffix and time.

    Raises StoreUnavailable (retry) if it is no longer what was listed or does not come whole, and
    what ``flight_files`` raises.
    """
    if isinstance(source, DroneFolder):
        yield _unchanged(Path(source.path), file)
        return
    suffix = PurePosixPath(file.name).suffix
    if not (suffix[1:].isascii() and suffix[1:].isalnum() and len(suffix) <= 16):
        suffix = ""
    with tempfile.TemporaryDirectory(dir=folder) as own:
        target = Path(own) / f"original{suffix}"
        download(source, file.origin, file.size, target, secrets)
        moment = file.modified_at.timestamp()
        os.utime(target, (moment, moment))
        yield target


def _unchanged(root: Path, file: FlightFile) -> Path:
    path = Path(file.origin)
    try:
        same = (
            path.resolve(strict=True).is_relative_to(root.resolve(strict=True))
            and path.stat().st_size == file.size
        )
    except (OSError, RuntimeError) as error:
        raise StoreUnavailable(f"{path} has gone since it was listed") from error
    if not same:
        raise StoreUnavailable(f"{path} has changed since it was listed")
    return path


class _TooMany(Exception):
    """A flight holds too much of what it names."""


class _Tree(Protocol):
    """A folder or a bucket. ``below`` is empty or a path with ``/`` at its end."""

    title: str

    def level(self, below: str) -> Iterator[str | _Found | None]:
        """What lies right below: names of folders, finished files, None for each other thing."""

    def everything(self, below: str) -> Iterator[_Found]:
        """Finished files below, however deep. Raises _TooMany."""


@contextmanager
def _tree(
    source: DroneFolder | DroneBucket,
    now: datetime,
    secrets: Mapping[str, str],
    stray: dict[str, None],
) -> Iterator[_Tree]:
    if isinstance(source, DroneFolder):
        yield _Folder(source, now, stray)
    else:
        with lister(source, secrets) as listing:
            yield _Bucket(source, listing)


def _flights(tree: _Tree, stray: dict[str, None]) -> Iterator[tuple[str, str]]:
    """The flights of all missions; what lies beside them is told in ``stray``."""
    waiting = [""]
    entries = 0
    while waiting:
        below = waiting.pop()
        for one in tree.level(below):
            entries += 1
            if entries > FLIGHTS_MAX:
                raise ConfigurationError(
                    f"{tree.title} holds more than {FLIGHTS_MAX} flights: move those that were "
                    "taken in elsewhere, or give the feed a folder or prefix of its own"
                )
            if one is None:
                continue
            reason = _closed(below + one) if isinstance(one, str) else _misplaced(one.path)
            if reason:
                stray[reason] = None
            elif reason is None and isinstance(one, str):
                if below:
                    yield below[:-1], one
                else:
                    waiting.append(f"{one}/")


def _files_of(
    tree: _Tree, mission_id: str, flight_id: str, stray: dict[str, None]
) -> list[FlightFile]:
    """The files of a flight; none of one that holds too much, which is told in ``stray``."""
    below = f"{mission_id}/{flight_id}/"
    files = []
    try:
        for one in tree.everything(below):
            reason = _misplaced(one.path)
            if reason is None:
                name = one.path.removeprefix(below)
                file = (mission_id, flight_id, name, one.size, one.modified_at, one.origin)
                files.append(FlightFile(*file))
            elif reason:
                stray[reason] = None
    except _TooMany as error:
        stray[_told(below, f"holds more than {FILES_MAX} {error}: it is not taken in")] = None
        return []
    return files


class _Bucket:
    """The objects below a bucket's prefix."""

    def __init__(self, source: DroneBucket, listing: BucketLister) -> None:
        self.title = f"bucket {source.bucket}, prefix {source.prefix!r}"
        self._prefix, self._listing = prefix_of(source), listing

    def level(self, below: str) -> Iterator[str | _Found | None]:
        for one in self._listing.level(below):
            if isinstance(one, BucketObject):
                yield self._found(one)
            elif _closed(below + one) and self._is_empty(f"{below}{one}/"):
                yield None
            else:
                yield one

    def everything(self, below: str) -> Iterator[_Found]:
        for number, one in enumerate(self._listing.everything(below), start=1):
            if number > FILES_MAX:
                raise _TooMany("objects")
            yield self._found(one)

    def _is_empty(self, below: str) -> bool:
        """Servers may go on listing a folder all of whose objects are gone: not worth a word."""
        return next(self._listing.everything(below), None) is None

    def _found(self, one: BucketObject) -> _Found:
        return _Found(one.key.removeprefix(self._prefix), one.size, one.modified_at, one.key)


class _Folder:
    """A folder; what can't be entered is told in ``stray``."""

    def __init__(self, source: DroneFolder, now: datetime, stray: dict[str, None]) -> None:
        self._source, self._now, self._stray = source, now, stray
        self._top = Path(source.path)
        self.title = f"the folder {self._top}"
        try:
            self._root = self._top.resolve(strict=True)
            os.listdir(self._root)
        except (OSError, RuntimeError) as error:
            raise ConfigurationError(
                f"The folder of flights {source.path} cannot be read: {_reason(error)}. Create "
                "it, or correct the path of the feed in the catalog."
            ) from error

    def level(self, below: str) -> Iterator[str | _Found | None]:
        for entry in self._entries(below):
            path = f"{below}{entry.name}"
            if entry.is_symlink() and entry.is_dir():
                self._stray[_told(path, "is a link to a folder")] = None
                yield None
            elif entry.is_dir(follow_symlinks=False):
                yield entry.name
            else:
                yield self._finished(path)

    def everything(self, below: str) -> Iterator[_Found]:
        """Depth first."""
        files = folders = 0
        waiting = [below]
        while waiting:
            here = waiting.pop()
            for one in self.level(here):
                if not isinstance(one, str):
                    files += 1
                    if files > FILES_MAX:
                        raise _TooMany("files")
                    if one is not None:
                        yield one
                elif (reason := _closed(f"{here}{one}")) is None:
                    folders += 1
                    if folders > FILES_MAX:
                        raise _TooMany("folders")
                    waiting.append(f"{here}{one}/")
                elif reason:
                    self._stray[reason] = None

    def _entries(self, below: str) -> list[os.DirEntry[str]]:
        try:
            with os.scandir(self._top / below) as entries:
                return list(entries)
        except (FileNotFoundError, NotADirectoryError):
            return []  # gone since it was listed
        except PermissionError as error:
            self._stray[_told(below, f"cannot be read: {_reason(error)}")] = None
            return []
        except OSError as error:
            raise StoreUnavailable(
                f"{self._top / below} cannot be read: {_reason(error)}"
            ) from error

    def _finished(self, path: str) -> _Found | None:
        whole = self._top / path
        status = settled_status(whole, self._root, self._source.settle_s, self._now)
        if status is None:
            return None
        modified_at = datetime.fromtimestamp(status.st_mtime, UTC)
        return _Found(path, status.st_size, modified_at, str(whole))


def _misplaced(path: str) -> str | None:
    """Why a file belongs to no flight; empty if nobody need be told, None if it does belong."""
    parts = path.split("/")
    if (reason := _unfit(path, parts[:-1])) is not None:
        return reason
    if len(parts) < 3:
        return _told(path, "lies outside MISSION/FLIGHT/")
    if len(parts) > 2 + DEPTH_MAX:
        return _told(path, f"lies more than {DEPTH_MAX} folders deep")
    return None


def _closed(path: str) -> str | None:
    """Why a folder is not entered; empty if nobody need be told, None if it is."""
    parts = path.split("/")
    if (reason := _unfit(f"{path}/", parts)) is not None:
        return reason
    if len(parts) >= 2 + DEPTH_MAX:
        return _told(path, f"lies more than {DEPTH_MAX} folders deep")
    return None


def _unfit(path: str, folders: list[str]) -> str | None:
    """What is wrong with the names along a path; empty if nobody need be told."""
    parts = path.removesuffix("/").split("/")
    if any(part in {"", ".", ".."} for part in parts):
        return _told(path, "is no path")
    if any(is_hidden_or_unfinished(part) for part in parts):
        return ""
    if not all(part.isprintable() for part in parts):
        return _told(path, "has a name that is not text")
    if folders and not _is_mission_id(folders[0]):
        return _told(f"{folders[0]}/", "is no mission id (a-z, 0-9, - and _, at most 64)")
    if len(folders) > 1 and len(folders[1]) > _FLIGHT_ID_MAX:
        return _told(f"{folders[0]}/{folders[1]}/", f"is longer than {_FLIGHT_ID_MAX} characters")
    return None


def _is_mission_id(text: str) -> bool:
    try:
        _MISSION_ID.validate_python(text)
    except ValidationError:
        return False
    return True


def _told(path: str, reason: str) -> str:
    return f"{path if path.isprintable() else ascii(path)}: {reason}"


def _shown(stray: Mapping[str, None]) -> tuple[str, ...]:
    told = sorted(stray)
    more = len(told) - _STRAY_MAX
    return tuple(told) if more <= 0 else (*told[:_STRAY_MAX], f"and {more} more")


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or type(error).__name__
