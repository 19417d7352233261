"""Segments of live footage on disk: written so that a kill costs a second, found again, handed on.

A segment is a fragmented MP4 with a side file of the same stem. The side file is there before the
first packet is, so that a recording that was cut off still says when it began. While it is being
written, the footage is called ``….mp4.part``.
"""

import contextlib
import fcntl
import json
import os
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Literal, TextIO

import av
from av.packet import Packet
from av.video.stream import VideoStream
from pydantic import Field, ValidationError

from enforcement.errors import ConfigurationError, StoreUnavailable
from enforcement.model import Name, Record, Utc

Basis = Literal["camera", "arrival"]

_FRAGMENTED = {
    "movflags": "frag_keyframe+empty_moov+default_base_moof",
    # Key frames may lie far apart: whatever comes in half a second is on its way to the disk.
    "frag_duration": "500000",
    "flush_packets": "1",
}
_NAME_TIME = "%Y%m%dT%H%M%S.%fZ"
_PART = ".mp4.part"
_LAST = "last.json"
_NEW = ".new"
_CLOCK_SET_S = 2.0
"""Two clocks that disagree by more over one gap: the camera's was set in between."""


class Moment(Record):
    """When a packet was: by our clock, and by the camera's where it says so."""

    arrived_at: Utc
    camera_at: Utc | None = None

    def later(self, by_s: float) -> "Moment":
        """The moment so many seconds later, by both clocks."""
        by = timedelta(seconds=by_s)
        camera_at = self.camera_at + by if self.camera_at is not None else None
        return Moment(arrived_at=self.arrived_at + by, camera_at=camera_at)


class Gap(Record):
    """Nothing was recorded after ``from_at``, the last packet before, and ahead of ``to_at``."""

    from_at: Utc
    to_at: Utc
    basis: Basis
    """Whose clock the two are read from; ``arrival`` also where the camera's was set meanwhile."""
    reason: str

    @property
    def duration_s(self) -> float:
        return (self.to_at - self.from_at).total_seconds()


def gap_between(last: Moment, first: Moment, reason: str) -> Gap:
    """The gap between two packets, by the camera's clock if that can be trusted across it."""
    from_at, to_at = last.arrived_at, first.arrived_at
    if last.camera_at is not None and first.camera_at is not None:
        passed = first.camera_at - last.camera_at
        if abs(passed - (to_at - from_at)) <= timedelta(seconds=_CLOCK_SET_S):
            return Gap(from_at=last.camera_at, to_at=first.camera_at, basis="camera", reason=reason)
    return Gap(from_at=from_at, to_at=to_at, basis="arrival", reason=reason)


class Segment(Record):
    """One piece of footage as a camera sent it, and all that is known about its time."""

    feed_id: Name
    path: Annotated[Path, Field(exclude=True)]
    """Fragmented MP4, times from 0, begins with a key frame. Not in the side file."""
    captured_at: Utc
    """Moment of the first frame: by the camera's clock if it gives one (``captured_at_basis``)."""
    captured_at_basis: Basis
    """``camera``: from RTCP sender reports. ``arrival``: our clock when the frame came in."""
    received_at: Utc
    """Our clock when the first frame came in."""
    camera_ahead_s: float | None = None
    """The camera's clock minus ours; the way over the network makes it a little too small."""
    drift_ppm: float | None = None
    """By how much the camera's clock runs too fast; 11.6 ppm are a second a day."""
    duration_s: float = 0.0
    """From the first frame to the last."""
    packets: int = 0
    codec: str
    gaps: tuple[Gap, ...] = ()
    """That end with the first frame or later in this segment."""
    ended: str = "cut off"
    """Why it ends where it does: ``full``, what went wrong, or ``cut off`` by a kill."""

    @property
    def last(self) -> Moment:
        """The moment of the last frame."""
        camera_at = self.captured_at if self.captured_at_basis == "camera" else None
        return Moment(arrived_at=self.received_at, camera_at=camera_at).later(self.duration_s)


class SegmentFile:
    """An MP4 to which packets are copied. What is older than half a second survives a kill."""

    def __init__(self, path: Path, stream: VideoStream, label: str) -> None:
        """Raises ConfigurationError for a codec that MP4 can't hold, StoreUnavailable."""
        self._label = label
        self._base = self._last = 0
        self.packets, self.size, self.span_s = 0, 0, 0.0
        with self._writing():
            self._out = av.open(str(path), "w", format="mp4", options=_FRAGMENTED)
        try:
            self._copy = self._out.add_stream_from_template(stream)
        except ValueError as error:
            self._out.close()
            raise ConfigurationError(
                f"The camera {label} sends {stream.codec_context.name}, which MP4 can't hold: "
                "set it to H.264 or H.265."
            ) from error

    def write(self, packet: "Packet[VideoStream]") -> None:
        """Append a packet that has a decoding time. Raises StoreUnavailable."""
        dts = packet.dts or 0
        if self.packets == 0:
            self._base, self._last = dts, -1
        # Equal times happen with cameras; MP4 wants them to grow.
        written = max(dts - self._base, self._last + 1)
        pts = packet.pts - self._base if packet.pts is not None else written
        packet.dts, packet.pts = written, max(pts, written)
        packet.stream = self._copy
        size, time_base = packet.size, packet.time_base
        with self._writing():
            self._out.mux(packet)
        self._last = written
        self.packets, self.size = self.packets + 1, self.size + size
        self.span_s = float(written * (time_base or 0))

    def close(self) -> None:
        """Write what is left. Raises StoreUnavailable."""
        with self._writing():
            self._out.close()

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except (OSError, av.FFmpegError) as error:
            reason = f"The recording of {self._label} cannot be written."
            raise StoreUnavailable(reason) from error


class SegmentFolder:
    """The folder of one feed in which its segments wait until they are filed. Thread-safe.

    Nothing in it is ever deleted but by ``discard``, and files in which no frame is.
    """

    def __init__(self, feed_id: str, folder: Path) -> None:
        self._feed_id, self._folder = feed_id, folder
        self._lock: TextIO | None = None
        self._changed = threading.Condition()
        self._finished: deque[Path] = deque()
        self._bytes = 0
        self._is_ended = False

    def open(self) -> bool:
        """Find what waits there; False, and nothing done, while another recorder has the folder.

        The kernel lets go of the lock when a process ends, however it ends.
        Raises StoreUnavailable.
        """
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            lock = (self._folder / ".lock").open("w")
        except OSError as error:
            raise StoreUnavailable(f"{self._folder} cannot be written.") from error
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            lock.close()
            return False
        self._lock = lock
        with self._changed:
            self._finished = deque(self._named("*.mp4"))
            self._bytes = sum(path.stat().st_size for path in self._finished)
            self._changed.notify_all()
        return True

    def close(self) -> None:
        """Let another recorder use the folder."""
        if self._lock is not None:
            self._lock.close()

    @property
    def waiting(self) -> int:
        """How many finished segments there are."""
        return len(self._finished)

    @property
    def bytes(self) -> int:
        """How much footage the finished segments hold."""
        return self._bytes

    def path_for(self, received_at: datetime) -> Path:
        """Where a segment that begins then will lie; sorted by name is sorted by time."""
        while True:
            stem = f"{self._feed_id}_{received_at.astimezone(UTC):{_NAME_TIME}}"
            path = self._folder / f"{stem}.mp4"
            if not path.exists() and not _side_file(path).exists():
                return path
            received_at += timedelta(microseconds=1)

    def note(self, segment: Segment, *, durably: bool = False) -> Path:
        """Write or replace the side file; returns where the footage is to be written meanwhile.

        Raises StoreUnavailable.
        """
        _replace(_side_file(segment.path), segment.model_dump_json(indent=1), durably)
        return _part(segment.path)

    def finish(self, segment: Segment) -> None:
        """The footage is complete: it waits from now on. Raises StoreUnavailable."""
        part = _part(segment.path)
        if segment.packets == 0:
            part.unlink(missing_ok=True)
            _side_file(segment.path).unlink(missing_ok=True)
            return
        self.note(segment, durably=True)
        try:
            with part.open("rb") as written:
                os.fsync(written.fileno())
            part.rename(segment.path)
            size = segment.path.stat().st_size
        except OSError as error:
            raise StoreUnavailable(f"{segment.path.name} cannot be kept.") from error
        with self._changed:
            self._finished.append(segment.path)
            self._bytes += size
            self._changed.notify_all()
        _replace(self._folder / _LAST, segment.last.model_dump_json(), durably=False)

    def oldest(self, wait_s: float) -> Segment | None:
        """The finished segment that waits longest; None if there is none for ``wait_s``, or none
        is to come."""
        with self._changed:
            self._changed.wait_for(lambda: self._finished or self._is_ended, wait_s)
            path = self._finished[0] if self._finished else None
        return self._described(path) if path is not None else None

    def discard(self, segment: Segment) -> None:
        """It is filed elsewhere now."""
        size = segment.path.stat().st_size
        segment.path.unlink()
        _side_file(segment.path).unlink(missing_ok=True)
        with self._changed:
            self._finished.remove(segment.path)
            self._bytes -= size
            self._changed.notify_all()

    def end(self) -> None:
        """No more segments are going to come."""
        with self._changed:
            self._is_ended = True
            self._changed.notify_all()

    def wait_for_room(self, below_bytes: int, wait_s: float) -> bool:
        """Whether less than that waits, now or within ``wait_s``."""
        with self._changed:
            return self._changed.wait_for(lambda: self._bytes < below_bytes, wait_s)

    def recover(self) -> int:
        """Finish what was cut off in the middle; returns how many there were. To be called while
        nothing is being written. Raises StoreUnavailable."""
        parts = self._named(f"*{_PART}")
        for part in parts:
            segment = self._described(part.with_suffix(""))
            packets, duration_s = _counted(part)
            found = {"packets": packets, "duration_s": duration_s, "ended": "cut off"}
            self.finish(segment.model_copy(update=found))
        for draft in self._folder.glob(f".*{_NEW}"):
            draft.unlink()
        for side_file in self._named("*.json"):
            if not side_file.with_suffix(".mp4").exists():
                # Or it is being discarded at this moment.
                side_file.unlink(missing_ok=True)
        return len(parts)

    def last_recorded(self) -> Moment | None:
        """The moment of the last frame that was ever recorded here."""
        known = []
        with contextlib.suppress(OSError, ValidationError):
            known.append(Moment.model_validate_json((self._folder / _LAST).read_bytes()))
        with self._changed:
            newest = self._finished[-1] if self._finished else None
        if newest is not None and newest.exists():
            known.append(self._described(newest).last)
        return max(known, key=lambda moment: moment.arrived_at, default=None)

    def _named(self, pattern: str) -> list[Path]:
        return sorted(self._folder.glob(f"{self._feed_id}_{pattern}"))

    def _described(self, path: Path) -> Segment:
        """From the side file; where that is damaged, from the name."""
        try:
            known = json.loads(_side_file(path).read_bytes())
            return Segment.model_validate({**known, "path": path})
        except (OSError, ValueError, TypeError):
            return self._from_name(path)

    def _from_name(self, path: Path) -> Segment:
        stamp = path.stem.removeprefix(f"{self._feed_id}_")
        began = datetime.strptime(stamp, _NAME_TIME).replace(tzinfo=UTC)
        footage = path if path.exists() else _part(path)
        packets, duration_s = _counted(footage)
        return Segment(
            feed_id=self._feed_id,
            path=path,
            captured_at=began,
            captured_at_basis="arrival",
            received_at=began,
            duration_s=duration_s,
            packets=packets,
            codec="unknown",
        )


def _replace(path: Path, text: str, durably: bool) -> None:
    draft = path.with_name(f".{path.name}{_NEW}")
    try:
        with draft.open("w") as file:
            file.write(text)
            if durably:
                file.flush()
                os.fsync(file.fileno())
        draft.replace(path)
    except OSError as error:
        raise StoreUnavailable(f"{path.name} cannot be written.") from error


def _part(path: Path) -> Path:
    return path.with_name(path.stem + _PART)


def _side_file(path: Path) -> Path:
    return path.with_suffix(".json")


def _counted(path: Path) -> tuple[int, float]:
    """Packets, and seconds from the first to the last, as far as the file can be read."""
    packets, first_s, last_s = 0, 0.0, 0.0
    try:
        with av.open(str(path)) as container:
            for packet in container.demux(video=0):
                if packet.size and packet.dts is not None:
                    last_s = float(packet.dts * (packet.time_base or 0))
                    first_s = first_s if packets else last_s
                    packets += 1
    except (av.FFmpegError, IndexError):
        # Torn in the middle of a fragment, or before the first: what came until then counts.
        pass
    return packets, last_s - first_s
