"""Files that cameras and people drop into a folder."""

import os
import re
import stat
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Literal

from enforcement.errors import BadFootage, ConfigurationError
from enforcement.places import FolderSource
from feeds.settled import is_hidden_or_unfinished, settled_status
from media.footage import read_header

CaptureBasis = Literal["name", "container", "mtime"]

_STAMP = re.compile(
    r"(?<!\d)(?P<year>20\d\d)[-_.]?(?P<month>\d\d)[-_.]?(?P<day>\d\d)"
    r"[T_ -]?(?P<hour>\d\d)[-_.:]?(?P<minute>\d\d)[-_.:]?(?P<second>\d\d)"
    r"(?:[.,](?P<fraction>\d{1,6}))?(?P<zone>Z|\+\d\d:?\d\d)?(?!\d)"
)


@dataclass(frozen=True)
class DroppedFile:
    """A finished file in a drop folder."""

    path: Path
    """As found in the folder; a link inside the folder is not followed here."""
    name: str
    size: int
    """Bytes; 0 for a file that was left empty."""
    modified_at: datetime
    captured_at: datetime
    """Best guess at the moment of the first frame, by the device's clock, aware UTC."""
    captured_at_basis: CaptureBasis
    """``name``: time in the file name (UTC where it names no zone). ``container``: the file's own
    creation time. ``mtime``: last change of the file less its length."""


def finished_files(source: FolderSource, now: datetime) -> list[DroppedFile]:
    """Files that match the pattern and have settled, oldest capture first.

    Left out: folders, dot and temporary names, names that are not text, links that lead out of
    the folder, files still changing. An empty file is reported once it has been so for a minute.

    Raises ConfigurationError where the folder is missing or can't be listed.
    """
    folder = Path(source.path)
    try:
        names = sorted(os.listdir(folder))
        root = folder.resolve(strict=True)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise ConfigurationError(
            f"The drop folder {source.path} cannot be read: {reason}. Create it, or correct the "
            "path of the feed in the catalog."
        ) from error
    found = [
        file
        for name in names
        if _is_finished_name(name, source.pattern)
        and (file := _settled(folder / name, root, source.settle_s, now)) is not None
    ]
    return sorted(found, key=lambda file: (file.captured_at, file.name))


def dropped_file(path: Path, now: datetime) -> DroppedFile:
    """One file that somebody names, wherever it lies and whether or not it has settled.

    Raises ConfigurationError if there is no such file.
    """
    try:
        status = path.stat()
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be read: {error.strerror}.") from error
    if not stat.S_ISREG(status.st_mode):
        raise ConfigurationError(f"{path} is not a file.")
    return _described(path, status, now)


def time_in_name(name: str, local: tzinfo = UTC) -> datetime | None:
    """The moment that a file name such as ``cam_20261124T055218Z.mp4`` states, or None.

    Date and time to the second, with or without separators; a zone as ``Z`` or ``+0800``,
    otherwise ``local``.
    """
    match = _STAMP.search(name)
    if match is None:
        return None
    parts = [int(match[part]) for part in ("year", "month", "day", "hour", "minute", "second")]
    microsecond = int((match["fraction"] or "0").ljust(6, "0"))
    zone = UTC if match["zone"] else local
    if match["zone"] and match["zone"] != "Z":
        digits = match["zone"][1:].replace(":", "")
        zone = timezone(timedelta(hours=int(digits[:2]), minutes=int(digits[2:])))
    try:
        year, month, day, hour, minute, second = parts
        return datetime(
            year, month, day, hour, minute, second, microsecond, tzinfo=zone
        ).astimezone(UTC)
    except ValueError:
        return None


def _is_finished_name(name: str, pattern: str) -> bool:
    return (
        name.isprintable()
        and not is_hidden_or_unfinished(name)
        and fnmatchcase(name.lower(), pattern.lower())
    )


def _settled(path: Path, root: Path, settle_s: float, now: datetime) -> DroppedFile | None:
    status = settled_status(path, root, settle_s, now)
    return None if status is None else _described(path, status, now)


def _described(path: Path, status: os.stat_result, now: datetime) -> DroppedFile:
    modified_at = datetime.fromtimestamp(status.st_mtime, UTC)
    captured_at, basis = _captured_at(path, status.st_size, modified_at, now)
    return DroppedFile(path, path.name, status.st_size, modified_at, captured_at, basis)


def _captured_at(
    path: Path, size: int, modified_at: datetime, now: datetime
) -> tuple[datetime, CaptureBasis]:
    latest = now + timedelta(days=1)
    named = time_in_name(path.name)
    if named is not None and named <= latest:
        return named, "name"
    if size == 0:
        return modified_at, "mtime"
    try:
        header = read_header(path)
    except BadFootage:
        # Not ours to judge: the file is filed as it is and quarantined when it is decoded.
        return modified_at, "mtime"
    if header.created_at is not None and header.created_at <= latest:
        return header.created_at, "container"
    return modified_at - timedelta(seconds=header.duration_s or 0.0), "mtime"
