"""What one camera sends, cut into segments, with every gap and with the camera's clock in view."""

import contextlib
from collections import deque
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

from enforcement.errors import StoreUnavailable
from feeds.rtsp import LiveCamera, LivePacket
from feeds.segments import Gap, Moment, Segment, SegmentFile, SegmentFolder, gap_between

_HOLE_S = 1.5
_HOLE_INTERVALS = 4
"""Frames that lie further apart than both say that some in between are missing."""
_LEAP_S = 2.0
"""By so much more than the time that passed: no frames are missing, the counter was set."""
_BACK_S = 1.0
_EARLY_S = 0.05
"""Key frames come by the clock of the camera: one a little early cuts as well."""
_GAPS_KEPT = 200
_REASONS_LISTED = 5
NOT_RUNNING = "the recorder was not running"
FULL = "full"
_NOTHING_SENT = "the camera sent nothing"


class ClockTrack:
    """How a camera's clock stands and runs against ours, from one measurement a segment."""

    _STEP_S = 0.5
    _SPAN_S = 300.0
    """Shorter than that, the jitter of a network passes for drift."""

    def __init__(self) -> None:
        self.ahead_s: float | None = None
        self.set_at: datetime | None = None
        """When the camera's clock was last seen to jump."""
        self._seen: deque[tuple[float, float]] = deque(maxlen=720)

    def add(self, at: datetime, ahead_s: float) -> None:
        """A measurement: by our clock, and the camera's clock minus ours."""
        if self.ahead_s is not None and abs(ahead_s - self.ahead_s) > self._STEP_S:
            self._seen.clear()
            self.set_at = at
        self.ahead_s = ahead_s
        self._seen.append((at.timestamp(), ahead_s))

    @property
    def drift_ppm(self) -> float | None:
        """Least-squares slope since the clock was last set; None before five minutes."""
        seen = list(self._seen)
        if len(seen) < 3 or seen[-1][0] - seen[0][0] < self._SPAN_S:
            return None
        mean_t = sum(t for t, _ in seen) / len(seen)
        mean_s = sum(s for _, s in seen) / len(seen)
        over = sum((t - mean_t) * (s - mean_s) for t, s in seen)
        return 1e6 * over / sum((t - mean_t) ** 2 for t, _ in seen)


@dataclass
class _Draft:
    """The segment that is being written."""

    path: Path
    file: SegmentFile
    codec: str
    first_stamp_s: float
    arrived_at: datetime
    """Of the first frame: the earliest that any frame suggests, for the first ones of a session
    wait in FFmpeg's buffers until it has understood the stream."""
    camera_at: datetime | None
    """Of the first frame; from a later one if the first sender report came late."""
    before: Moment | None
    """Last frame before the gap ahead of this segment; None if there is no gap."""
    reason: str
    last_stamp_s: float
    last_arrived_at: datetime
    holes: list[tuple[float, float]] = field(default_factory=list)
    """Stamps of the frames before and after each."""

    @property
    def first(self) -> Moment:
        return Moment(arrived_at=self.arrived_at, camera_at=self.camera_at)

    @property
    def last(self) -> Moment:
        return self.at(self.last_stamp_s)

    @property
    def ahead_s(self) -> float | None:
        if self.camera_at is None:
            return None
        return (self.camera_at - self.arrived_at).total_seconds()

    @property
    def gaps(self) -> tuple[Gap, ...]:
        before = () if self.before is None else (gap_between(self.before, self.first, self.reason),)
        within = (
            gap_between(self.at(last_s), self.at(next_s), _NOTHING_SENT)
            for last_s, next_s in self.holes
        )
        return (*before, *within)

    def at(self, stamp_s: float) -> Moment:
        return self.first.later(stamp_s - self.first_stamp_s)

    def see(self, live: LivePacket) -> bool:
        """Take note of a frame's times; returns whether the camera's time is new."""
        since = timedelta(seconds=live.stamp_s - self.first_stamp_s)
        self.arrived_at = min(self.arrived_at, live.arrived_at - since)
        self.last_stamp_s = max(self.last_stamp_s, live.stamp_s)
        self.last_arrived_at = live.arrived_at
        if self.camera_at is not None or (camera_at := live.camera_at) is None:
            return False
        self.camera_at = camera_at - since
        return True


class Tape:
    """Takes the packets of one camera, session after session, and lays down segments."""

    def __init__(self, feed_id: str, segments: SegmentFolder, clock_track: ClockTrack) -> None:
        self._feed_id, self._segments, self._clock_track = feed_id, segments, clock_track
        self._draft: _Draft | None = None
        self._last: Moment | None = None
        self._interval_s = 0.0
        self._reasons = [NOT_RUNNING]
        self._gaps: deque[Gap] = deque(maxlen=_GAPS_KEPT)
        self._gap_count, self._gap_s = 0, 0.0

    @property
    def size(self) -> int:
        """Bytes in the segment that is being written."""
        draft = self._draft
        return draft.file.size if draft is not None else 0

    @property
    def ahead_s(self) -> float | None:
        """The camera's clock minus ours, as last measured."""
        draft = self._draft
        now = draft.ahead_s if draft is not None else None
        return now if now is not None else self._clock_track.ahead_s

    def gaps(self) -> tuple[tuple[Gap, ...], int, float]:
        """The latest gaps; how many there were in all; how long they were together, in seconds."""
        draft = self._draft
        current = draft.gaps if draft is not None else ()
        together_s = self._gap_s + sum(gap.duration_s for gap in current)
        return (*self._gaps, *current), self._gap_count + len(current), together_s

    def take(self, live: LivePacket, camera: LiveCamera, segment_s: float) -> bool:
        """Write one frame, into the next segment if it is a key frame and this one is long enough.

        Returns False, and writes nothing, if the time stamps leapt: until the camera's next sender
        report nobody knows what they mean, so it is better to connect anew.
        Raises StoreUnavailable if it can't be written, ConfigurationError if MP4 can't hold it.
        """
        draft = self._draft
        if draft is not None and self._has_leapt(draft, live):
            return False
        if (
            draft is not None
            and live.packet.is_keyframe
            and live.stamp_s - draft.first_stamp_s >= segment_s - _EARLY_S
        ):
            self._finish(draft, FULL)
            if self._is_hole(draft, live):
                self.explain(_NOTHING_SENT)
        draft = self._draft
        if draft is None:
            draft = self._draft = self._begin(live, camera)
            self._reasons = []
        self._write(draft, live)
        return True

    def end(self, reason: str) -> None:
        """The stream is over for this reason: finish the segment. Raises StoreUnavailable."""
        if self._draft is not None:
            self._finish(self._draft, reason)
        self.explain(reason)

    def forget(self, reason: str) -> None:
        """The disk fails: leave the segment as it is, to be recovered later."""
        draft, self._draft = self._draft, None
        if draft is not None:
            self._last = draft.last
            self._count(draft.gaps)
            with contextlib.suppress(StoreUnavailable):
                draft.file.close()
        self.explain(reason)

    def explain(self, reason: str) -> bool:
        """A further reason for the gap that is open now; returns whether it is a new one."""
        if reason in self._reasons:
            return False
        if len(self._reasons) < _REASONS_LISTED:
            self._reasons.append(reason)
        return True

    def _begin(self, live: LivePacket, camera: LiveCamera) -> _Draft:
        if self._last is None:
            self._last = self._segments.last_recorded()
        codec = camera.stream.codec_context.name
        path, camera_at = self._segments.path_for(live.arrived_at), live.camera_at
        segment = Segment(
            feed_id=self._feed_id,
            path=path,
            captured_at=camera_at or live.arrived_at,
            captured_at_basis="camera" if camera_at else "arrival",
            received_at=live.arrived_at,
            codec=codec,
        )
        part = self._segments.note(segment)
        return _Draft(
            path=path,
            file=SegmentFile(part, camera.stream, camera.label),
            codec=codec,
            first_stamp_s=live.stamp_s,
            last_stamp_s=live.stamp_s,
            last_arrived_at=live.arrived_at,
            arrived_at=live.arrived_at,
            camera_at=camera_at,
            before=self._last if self._reasons else None,
            reason="; ".join(self._reasons),
        )

    def _write(self, draft: _Draft, live: LivePacket) -> None:
        step_s = live.stamp_s - draft.last_stamp_s
        if self._is_hole(draft, live):
            draft.holes.append((draft.last_stamp_s, live.stamp_s))
        elif step_s > 0:
            self._interval_s = 0.8 * (self._interval_s or step_s) + 0.2 * step_s
        is_dated = draft.see(live)
        number = draft.file.packets
        draft.file.write(live.packet)
        # The first frame's arrival is known better after the next ones, those of a second or two.
        if is_dated or number in (4, 16, 64):
            self._segments.note(self._described(draft, "cut off"))

    def _is_hole(self, draft: _Draft, live: LivePacket) -> bool:
        step_s = live.stamp_s - draft.last_stamp_s
        return 0 < self._interval_s < step_s / _HOLE_INTERVALS and step_s > _HOLE_S

    def _has_leapt(self, draft: _Draft, live: LivePacket) -> bool:
        step_s = live.stamp_s - draft.last_stamp_s
        passed_s = (live.arrived_at - draft.last_arrived_at).total_seconds()
        return step_s < -_BACK_S or step_s > max(0.0, passed_s) + _LEAP_S

    def _finish(self, draft: _Draft, reason: str) -> None:
        draft.file.close()
        segment = self._described(draft, reason)
        self._segments.finish(segment)
        self._draft, self._last = None, draft.last
        self._count(segment.gaps)
        if segment.camera_ahead_s is not None:
            self._clock_track.add(segment.received_at, segment.camera_ahead_s)

    def _count(self, gaps: tuple[Gap, ...]) -> None:
        self._gaps.extend(gaps)
        self._gap_count += len(gaps)
        self._gap_s += sum(gap.duration_s for gap in gaps)

    def _described(self, draft: _Draft, reason: str) -> Segment:
        return Segment(
            feed_id=self._feed_id,
            path=draft.path,
            captured_at=draft.camera_at or draft.arrived_at,
            captured_at_basis="camera" if draft.camera_at else "arrival",
            received_at=draft.arrived_at,
            camera_ahead_s=draft.ahead_s,
            drift_ppm=self._clock_track.drift_ppm,
            duration_s=draft.file.span_s,
            packets=draft.file.packets,
            codec=draft.codec,
            gaps=draft.gaps,
            ended=reason,
        )
