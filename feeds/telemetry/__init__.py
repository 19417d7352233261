"""Where an aircraft was, read from the files that it brings home.

One parser a kind of file: DJI's subtitles (``srt``), DJI's stills (``stills``), MISB ST 0601 in
packets and transport streams (``klv``). Bytes come from outside: each parser is bounded in time
and memory by what it is given, loses only what is broken, and says why.
"""

from pathlib import Path

from enforcement.errors import BadTelemetry
from enforcement.flights import TelemetryConventions
from feeds.telemetry.klv import read_packets, read_transport_stream
from feeds.telemetry.log import RefusedCue, TelemetryLog
from feeds.telemetry.srt import read_srt
from feeds.telemetry.stills import read_still

__all__ = [
    "TELEMETRY_SUFFIXES",
    "RefusedCue",
    "TelemetryLog",
    "read_packets",
    "read_srt",
    "read_still",
    "read_telemetry",
    "read_transport_stream",
]

TELEMETRY_SUFFIXES = frozenset(
    {".srt", ".jpg", ".jpeg", ".ts", ".mts", ".m2ts", ".mpg", ".klv", ".bin"}
)
"""File name endings, in lower case, that ``read_telemetry`` knows."""

LARGEST_FILE = 128 * 1024 * 1024
"""Bytes that are read into memory at once: an hour of subtitles at 60 cues a second is 90 MB.
Transport streams are read in pieces and may be larger."""


def read_telemetry(path: Path, conventions: TelemetryConventions) -> TelemetryLog:
    """All poses of a file, by its ending.

    Raises BadTelemetry if the ending is unknown, the file is too large or cannot be read, or it
    holds no usable pose.
    """
    suffix = path.suffix.lower()
    if suffix not in TELEMETRY_SUFFIXES:
        raise BadTelemetry(f"{path.name}: nobody here reads telemetry from a {suffix!r} file.")
    try:
        if suffix in {".ts", ".mts", ".m2ts", ".mpg"}:
            with path.open("rb") as stream:
                return read_transport_stream(stream, path.name)
        if path.stat().st_size > LARGEST_FILE:
            raise BadTelemetry(f"{path.name}: larger than {LARGEST_FILE} bytes.")
        data = path.read_bytes()
    except OSError as error:
        raise BadTelemetry(f"{path.name} cannot be read: {error.strerror}.") from error
    if suffix == ".srt":
        return read_srt(data, path.name, conventions)
    if suffix in {".klv", ".bin"}:
        return read_packets(data, path.name)
    return read_still(data, path.name, conventions)
