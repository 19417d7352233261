"""Recordings: a live camera, recorded for as long as the collector runs."""

from collections.abc import Mapping
from datetime import datetime
from functools import partial

from enforcement.feed_health import CollectorReport
from enforcement.places import Feed, RtspSource
from feeds.recorder import Recorder
from pipelines.pull import file_segment
from pipelines.wiring import Wiring


class Recording:
    """Keeps one camera recorded, and files what was recorded."""

    def __init__(
        self,
        wiring: Wiring,
        feed: Feed,
        source: RtspSource,
        *,
        environ: Mapping[str, str],
        spool_bytes: int,
    ) -> None:
        """``spool_bytes`` of footage may wait on disk while the store is away."""
        self._recorder = Recorder(
            feed.feed_id,
            source,
            wiring.settings.home / "camera-spool" / feed.feed_id,
            partial(file_segment, wiring, feed),
            environ=environ,
            clock=wiring.clock,
            spool_limit_bytes=spool_bytes,
        )

    def start(self) -> None:
        self._recorder.start()

    def stop(self, timeout_s: float = 15.0) -> None:
        self._recorder.stop(timeout_s)

    def is_alive(self) -> bool:
        return self._recorder.is_alive()

    def report(self, now: datetime) -> CollectorReport:
        status = self._recorder.status()
        return CollectorReport(
            at=now,
            state=status.state.value,
            clock_offset_s=status.camera_ahead_s,
            last_error=status.store_error or (status.last_error if status.silent_s > 1 else None),
        )
