"""One live camera, recorded without end: connect, cut segments, reconnect, hand segments on.

Two threads a camera: one reads and writes, the other hands finished segments to whoever files
them, oldest first, and waits while the store is away. So a slow store never stops a recording.
"""

import logging
import random
import threading
import time
from collections.abc import Callable, Mapping
from datetime import datetime
from enum import StrEnum
from pathlib import Path

from enforcement.errors import (
    ConfigurationError,
    CredentialsRefused,
    FeedUnavailable,
    StoreUnavailable,
)
from enforcement.model import Name, Record, Utc
from enforcement.places import RtspSource
from feeds.rtsp import Clock, LiveCamera, expanded, live_camera, redacted
from feeds.segments import Gap, Segment, SegmentFolder
from feeds.tape import ClockTrack, Tape

_LOG = logging.getLogger("sightline.recorder")
_CHANCE = random.SystemRandom()

_CAPS_S = ((120.0, 1.0), (3600.0, 3.0), (float("inf"), 15.0))
"""Longest wait between two tries, by how long the camera has been away: one that rebooted is
noticed within about a second, one that was taken down is not called all the time."""
_FIRST_S = 0.1
_STEADY_S = 10.0
"""A session of that length did not fail at once: the next wait is short again."""
_REFUSED_FIRST_S, _REFUSED_LONGEST_S = 300.0, 3600.0
"""Cameras lock an account for half an hour after five to seven wrong passwords in a row."""
_STORE_FIRST_S, _STORE_LONGEST_S = 0.5, 10.0
_LOOK_EVERY_S, _IDLE_S = 0.5, 60.0
_ROOM_AGAIN = 0.9
"""Of the limit: below it a full spool takes footage again."""
_RATE_EVERY_S = 2.0
SPOOL_FULL = "spool full"
STOPPED = "stopped"
_LEAPT = "the time stamps leapt"
_RECONFIGURED = "its entry in the catalog changed"


class RecorderState(StrEnum):
    """What a recorder is about."""

    CONNECTING = "connecting"
    RECORDING = "recording"
    REFUSED = "refused"
    """The camera does not take the credentials, or the catalog's entry can't be used: tried again
    rarely, or when the entry or its variables change."""
    SPOOL_FULL = "spool_full"
    STOPPED = "stopped"


class RecorderStatus(Record):
    """How one recorder is doing. Holds no credentials."""

    feed_id: Name
    state: RecorderState
    last_packet_at: Utc | None
    """By our clock."""
    silent_s: float
    """Since then, or since the start."""
    camera_ahead_s: float | None
    """The camera's clock minus ours, as last measured."""
    drift_ppm: float | None
    clock_set_at: Utc | None
    """When the camera's clock was last seen to jump."""
    bytes_per_s: float
    packets: int
    """Since the start."""
    gaps: tuple[Gap, ...]
    """The latest since the start; ``gap_count`` and ``gap_s`` count all."""
    gap_count: int
    gap_s: float
    last_error: str | None
    """What was last wrong with the camera; stays when it is cured."""
    store_error: str | None
    """Why finished segments are not taken at present."""
    disk_error: str | None
    """Why nothing can be written at present."""
    segments_waiting: int
    spool_bytes: int


def back_off_s(tries: int, away_s: float) -> float:
    """How long to wait after so many tries for a camera that has been away that long."""
    cap_s = next(cap_s for until_s, cap_s in _CAPS_S if away_s < until_s)
    return min(cap_s, _FIRST_S * 2.0 ** min(tries, 16)) * _CHANCE.uniform(0.75, 1.25)


class Recorder:
    """Records one camera from ``start`` to ``stop``.

    ``folder`` belongs to this feed alone; segments wait there, and a second recorder waits until
    the first has ended. ``finished`` is called with one
    finished segment after the other, oldest first, in a thread of this recorder; once it returns,
    the files are deleted. It raises StoreUnavailable to be called again later with the same
    segment; any other exception ends the recorder (``is_alive``). After a kill it may be called
    with a segment that it took already. While ``spool_limit_bytes`` of footage wait, nothing is
    recorded.

    ``environ`` is read again before each try, so that a changed password cures a refusal, and so
    does ``replace_source``. ``clock`` gives the present moment. A segment is ``source.window_s``
    long, and as much longer as it takes until the next key frame.
    """

    def __init__(
        self,
        feed_id: str,
        source: RtspSource,
        folder: Path,
        finished: Callable[[Segment], object],
        *,
        environ: Mapping[str, str],
        clock: Clock,
        spool_limit_bytes: int = 2 << 30,
    ) -> None:
        self.feed_id = feed_id
        self._source, self._finished = source, finished
        self._environ, self._clock, self._limit = environ, clock, spool_limit_bytes
        self._segments = SegmentFolder(feed_id, folder)
        self._clock_track = ClockTrack()
        self._tape = Tape(feed_id, self._segments, self._clock_track)
        self._stopping, self._recorded = threading.Event(), threading.Event()
        self._state = RecorderState.STOPPED
        self._last_error: str | None = None
        self._store_error: str | None = None
        self._disk_error: str | None = None
        self._heard = _Heard()
        self._tries = self._refusals = 0
        self._threads = [
            threading.Thread(target=target, name=f"{feed_id} {name}", daemon=True)
            for target, name in ((self._record, "recorder"), (self._hand_over, "hand-over"))
        ]

    def start(self) -> None:
        """Hand on what an earlier run left, then record. Returns at once; once only."""
        self._state = RecorderState.CONNECTING
        for thread in self._threads:
            thread.start()

    def stop(self, timeout_s: float = 10.0) -> None:
        """Finish the segment, hand over what the store takes, and end.

        A camera that hangs at this moment costs up to its ``timeout_s``.
        """
        self._stopping.set()
        until = time.monotonic() + timeout_s
        for thread in self._threads:
            if thread.is_alive():
                thread.join(max(0.0, until - time.monotonic()))
        if not any(thread.is_alive() for thread in self._threads):
            self._segments.close()
        self._state = RecorderState.STOPPED

    def is_alive(self) -> bool:
        """Whether both threads run. Not so between ``start`` and ``stop``: a program error."""
        return all(thread.is_alive() for thread in self._threads)

    def replace_source(self, source: RtspSource) -> None:
        """Use another address, password or length of segments from now on."""
        self._source = source

    def status(self) -> RecorderStatus:
        """A snapshot, from any thread."""
        gaps, gap_count, gap_s = self._tape.gaps()
        return RecorderStatus(
            feed_id=self.feed_id,
            state=self._state,
            last_packet_at=self._heard.last_at,
            silent_s=self._heard.silent_s,
            camera_ahead_s=self._tape.ahead_s,
            drift_ppm=self._clock_track.drift_ppm,
            clock_set_at=self._clock_track.set_at,
            bytes_per_s=self._heard.bytes_per_s,
            packets=self._heard.packets,
            gaps=gaps,
            gap_count=gap_count,
            gap_s=gap_s,
            last_error=self._last_error,
            store_error=self._store_error,
            disk_error=self._disk_error,
            segments_waiting=self._segments.waiting,
            spool_bytes=self._segments.bytes + self._tape.size,
        )

    def _record(self) -> None:
        try:
            while not self._stopping.is_set() and not self._has_folder():
                self._stopping.wait(_LOOK_EVERY_S)
            while not self._stopping.is_set():
                self._try()
        finally:
            self._recorded.set()
            self._segments.end()

    def _has_folder(self) -> bool:
        try:
            if self._segments.open():
                self._disk_error = None
                return True
            self._note_disk_error("Another recorder has the folder of this feed.")
        except StoreUnavailable as error:
            self._note_disk_error(str(error))
        return False

    def _try(self) -> None:
        source, secret = self._source, self._secret()
        try:
            self._segments.recover()
            if self._segments.bytes >= self._limit:
                self._wait_for_room()
                return
            began = time.monotonic()
            self._session(source)
            self._tries = 0 if time.monotonic() - began >= _STEADY_S else self._tries + 1
        except StoreUnavailable as error:
            self._note_disk_error(str(error))
            self._tape.forget(str(error))
            self._tries += 1
        except (CredentialsRefused, ConfigurationError) as error:
            self._note_trouble(source, str(error))
            self._wait_for_change(secret)
            return
        except FeedUnavailable as error:
            self._tries += 1
            self._note_trouble(source, str(error))
        self._state = RecorderState.CONNECTING
        self._stopping.wait(back_off_s(self._tries, self._heard.silent_s))

    def _session(self, source: RtspSource) -> None:
        """One connection, from its first key frame to its end."""
        with live_camera(source, environ=self._environ, clock=self._clock) as camera:
            ended = self._written(camera, source)
            self._tape.end(ended or camera.ended)
            if ended is None:
                self._note_trouble(source, f"The camera {camera.label} {camera.ended}.")

    def _written(self, camera: LiveCamera, source: RtspSource) -> str | None:
        """Write what the camera sends; returns why we ended it, None if the camera did."""
        for live in camera.packets():
            if self._state is not RecorderState.RECORDING:
                self._state, self._disk_error = RecorderState.RECORDING, None
                self._refusals = 0
                _LOG.info("%s: recording from %s", self.feed_id, camera.label)
            self._heard.note(live.packet.size, live.arrived_at)
            if not self._tape.take(live, camera, source.window_s):
                return _LEAPT
            if self._stopping.is_set():
                return STOPPED
            if self._segments.bytes + self._tape.size >= self._limit:
                return SPOOL_FULL
            if self._source != source:
                return _RECONFIGURED
        return None

    def _note_trouble(self, source: RtspSource, text: str) -> None:
        reason = text.removeprefix(f"The camera {redacted(source.url)} ").removesuffix(".")
        if self._tape.explain(reason) or text != self._last_error:
            _LOG.warning("%s: %s", self.feed_id, text)
        self._last_error = text

    def _note_disk_error(self, text: str) -> None:
        if self._disk_error is None:
            _LOG.warning("%s: %s", self.feed_id, text)
        self._disk_error = text

    def _secret(self) -> str | None:
        """The full URL as it stands now; None while a variable is unset."""
        try:
            return expanded(self._source.url, self._environ)
        except ConfigurationError:
            return None

    def _wait_for_change(self, secret: str | None) -> None:
        self._state = RecorderState.REFUSED
        longest_s = min(_REFUSED_FIRST_S * 2**self._refusals, _REFUSED_LONGEST_S)
        self._refusals += 1
        until = time.monotonic() + longest_s * _CHANCE.uniform(1.0, 1.2)
        while time.monotonic() < until and self._secret() == secret:
            if self._stopping.wait(_LOOK_EVERY_S):
                return

    def _wait_for_room(self) -> None:
        self._state = RecorderState.SPOOL_FULL
        if self._tape.explain(SPOOL_FULL):
            _LOG.warning("%s: %s, recording pauses", self.feed_id, SPOOL_FULL)
        room = round(self._limit * _ROOM_AGAIN)
        while not self._segments.wait_for_room(room, _LOOK_EVERY_S):
            if self._stopping.is_set():
                return

    def _hand_over(self) -> None:
        try:
            self._serve()
        finally:
            if self._recorded.is_set():
                self._segments.close()

    def _serve(self) -> None:
        wait_s = _STORE_FIRST_S
        while True:
            is_last = self._recorded.is_set()
            segment = self._segments.oldest(_IDLE_S)
            if segment is None:
                if is_last:
                    return
                continue
            try:
                self._finished(segment)
            except StoreUnavailable as error:
                if self._store_error is None:
                    _LOG.warning("%s: %s", self.feed_id, error)
                self._store_error = str(error)
                if self._recorded.wait(wait_s * _CHANCE.uniform(0.75, 1.25)):
                    return
                wait_s = min(2 * wait_s, _STORE_LONGEST_S)
                continue
            wait_s, self._store_error = _STORE_FIRST_S, None
            self._segments.discard(segment)


class _Heard:
    """What came from the camera, and when."""

    def __init__(self) -> None:
        self.last_at: datetime | None = None
        self.packets = 0
        self._last = self._marked = time.monotonic()
        self._bytes, self._rate = 0, 0.0

    def note(self, size: int, at: datetime) -> None:
        self.last_at, self._last = at, time.monotonic()
        self.packets, self._bytes = self.packets + 1, self._bytes + size
        if self._last - self._marked >= _RATE_EVERY_S:
            self._rate = self._bytes / (self._last - self._marked)
            self._marked, self._bytes = self._last, 0

    @property
    def silent_s(self) -> float:
        return time.monotonic() - self._last

    @property
    def bytes_per_s(self) -> float:
        return self._rate if self.silent_s < 2 * _RATE_EVERY_S else 0.0
