"""Collect: take in all live feeds, cameras and messages, in one process that runs for months.

What arrives is filed as captures: bytes into the store, the manifest row, and only then the
acknowledgement to the peer. While the store is away batches wait in a bounded spool on disk, and
are acknowledged from there; once the spool is full nothing is acknowledged, and the peers wait.
"""

import logging
import random
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from datetime import datetime
from types import FrameType
from typing import Protocol

from enforcement.errors import (
    EvidenceError,
    SightlineError,
    StoreUnavailable,
)
from enforcement.feed_health import CollectorReport
from enforcement.places import Feed, Hj212Source, MqttSource, RtspSource
from feeds.hj212_listener import Hj212Listener
from feeds.messages import Keep
from feeds.mqtt import MqttListener
from feeds.spool import Spool, SpooledBatch
from pipelines.processes import StopSign, sole_process
from pipelines.pull import file_batch
from pipelines.recordings import Recording
from pipelines.wiring import Wiring, wire
from settings.catalog import CatalogFolder
from settings.secrets import Secrets
from storage.records.feeds import note_state

SPOOL_BYTES = 2 * 2**30
"""How much may wait on disk while the store is away: about ten days of ten messages a second."""

LISTENING, RETRYING, STOPPED = "listening", "retrying", "stopped"
"""States of a feed of messages, as put on record."""

CAMERA_SPOOL_BYTES = 32 * 2**30
"""How much footage of all cameras together may wait there: 30 cameras of 2 Mbit/s for an hour."""
_CAMERA_LEAST_BYTES = 2**28

_LOG = logging.getLogger("sightline.collect")

_LOOK_EVERY_S = 1.0
_REPORT_EVERY_S = 5.0
_DRAIN_EVERY_S = 2.0
_FIRST_WAIT_S, _LONGEST_WAIT_S = 1.0, 60.0


def run() -> None:
    """Collect until SIGTERM or SIGINT, with the wiring of this process's environment."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    stop = StopSign()

    def told(_: int, __: FrameType | None) -> None:
        stop.give()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, told)
    collect(wire(), stop)


def collect(wiring: Wiring, stop: StopSign, *, spool_bytes: int = SPOOL_BYTES) -> None:
    """Listen to every enabled live feed of the catalog until told to stop.

    A feed whose source changes in the catalog is started anew; one that fails is tried again.
    Raises ConfigurationError if another collector runs on this home, or there is no catalog.
    """
    home = wiring.settings.home
    # Two collectors would throw each other out of the brokers.
    refusal = f"another `sightline collect` runs on {home}: end it first"
    with sole_process(home / "run" / "collect.lock", refusal):
        archive = Archive(wiring, Spool(home / "message-spool", spool_bytes))
        catalogs = CatalogFolder(wiring.settings.catalog_folder)
        with archive.draining() as drain:
            live = _LiveFeeds(wiring, archive.keep)
            reported = -_REPORT_EVERY_S
            try:
                while not stop.is_given:
                    if drain.done():
                        drain.result()  # raises what nobody expected; a new process may do better
                    live.follow(catalogs().feeds)
                    if time.monotonic() - reported >= _REPORT_EVERY_S:
                        live.report()
                        reported = time.monotonic()
                    stop.wait(_LOOK_EVERY_S)
            finally:
                live.stop()


class Archive:
    """Where batches of messages are kept: in the store, or in the spool while that is away."""

    def __init__(self, wiring: Wiring, spool: Spool) -> None:
        self._wiring, self._spool = wiring, spool
        self._away = False
        """The store did not take the last batch: no other is held up by trying it again."""

    def keep(self, feed_id: str, batch: bytes, first_received_at: datetime) -> None:
        """Keep a batch for good. Raises StoreUnavailable when neither place takes it."""
        if not self._away:
            try:
                file_batch(self._wiring, feed_id, batch, first_received_at)
                return
            except SightlineError as error:
                # Not only a store that is away: nothing may be lost to a wrong setting either.
                _LOG.warning("feed %s: a batch goes to the spool: %s", feed_id, error)
                self._away = True
        self._spool.put(feed_id, batch, first_received_at)

    @contextmanager
    def draining(self) -> Iterator[Future[None]]:
        """File what waits in the spool, oldest first, in a thread until the block ends."""
        stop = threading.Event()
        with ThreadPoolExecutor(1, thread_name_prefix="drain") as pool:
            drain = pool.submit(self._drain, stop)
            try:
                yield drain
            finally:
                stop.set()
                drain.result()

    def _drain(self, stop: threading.Event) -> None:
        while True:
            try:
                self._drain_all(stop)
            except StoreUnavailable as error:
                _LOG.warning("%d bytes wait in the spool: %s", self._spool.used_bytes, error)
            if stop.wait(_DRAIN_EVERY_S):
                return

    def _drain_all(self, stop: threading.Event) -> None:
        for batch in self._spool.oldest_first():
            if stop.is_set():
                return
            if self._moved(batch):
                self._away = False

    def _moved(self, batch: SpooledBatch) -> bool:
        """Move one batch from the spool to the store; False if it stays on disk."""
        try:
            content = batch.read()
        except EvidenceError as error:
            _LOG.error("%s", error)
            self._spool.set_aside(batch)
            return False
        try:
            file_batch(self._wiring, batch.feed_id, content, batch.first_received_at)
        except StoreUnavailable:
            raise
        except SightlineError as error:
            # One batch that is refused must not hold up all others.
            _LOG.error("a batch of feed %s stays in the spool: %s", batch.feed_id, error)
            return False
        self._spool.discard(batch)
        return True


class _Live(Protocol):
    """Something that takes in one live feed."""

    def start(self) -> None:
        """Begin; returns at once."""

    def stop(self, timeout_s: float = ...) -> None:
        """Keep what has come, then end."""

    def is_alive(self) -> bool:
        """Whether it still goes on by itself."""

    def report(self, now: datetime) -> CollectorReport:
        """How it is doing."""


class _Listener(Protocol):
    @property
    def problem(self) -> str: ...

    def run(self, stop: threading.Event) -> None: ...


class _LiveFeeds:
    """What takes in the live feeds of a catalog, one for each."""

    def __init__(self, wiring: Wiring, keep: Keep) -> None:
        self._wiring, self._keep, self._secrets = wiring, keep, Secrets()
        self._camera_bytes = CAMERA_SPOOL_BYTES
        """Of one camera."""
        self._running: dict[str, tuple[Feed, _Live]] = {}

    def follow(self, feeds: tuple[Feed, ...]) -> None:
        """Start, end and start anew as the catalog says now."""
        wanted = {feed.feed_id: feed for feed in feeds if feed.enabled}
        cameras = sum(isinstance(feed.source, RtspSource) for feed in wanted.values())
        self._camera_bytes = max(_CAMERA_LEAST_BYTES, CAMERA_SPOOL_BYTES // max(1, cameras))
        ended = [
            feed_id
            for feed_id, (feed, live) in self._running.items()
            if feed_id not in wanted or _changed(feed, wanted[feed_id]) or not live.is_alive()
        ]
        self._end(ended)
        for feed_id, feed in wanted.items():
            if feed_id not in self._running and (live := self._taking(feed)) is not None:
                _LOG.info("feed %s: listening (%s)", feed_id, feed.source.kind)
                live.start()
                self._running[feed_id] = feed, live

    def report(self) -> None:
        """Put on record how each is doing."""
        now = self._wiring.clock()
        self._note({feed_id: live.report(now) for feed_id, (_, live) in self._running.items()})

    def stop(self) -> None:
        """End all of them, side by side."""
        self._end(list(self._running))

    def _end(self, feed_ids: list[str]) -> None:
        ending = [self._running.pop(feed_id)[1] for feed_id in feed_ids]
        if ending:
            with ThreadPoolExecutor(len(ending)) as pool:
                list(pool.map(lambda live: live.stop(), ending))
            stopped = CollectorReport(at=self._wiring.clock(), state=STOPPED)
            self._note(dict.fromkeys(feed_ids, stopped))

    def _note(self, reports: dict[str, CollectorReport]) -> None:
        try:
            with self._wiring.database.transaction() as connection:
                for feed_id, report in reports.items():
                    note_state(connection, feed_id, report)
        except StoreUnavailable as error:
            _LOG.warning("nobody can be told how the feeds are doing: %s", error)

    def _taking(self, feed: Feed) -> _Live | None:
        """What takes in this feed; None for a feed that is pulled."""
        source = feed.source
        if isinstance(source, MqttSource):
            return _Listening(feed.feed_id, lambda: self._mqtt(feed.feed_id, source))
        if isinstance(source, Hj212Source):
            return _Listening(feed.feed_id, lambda: self._hj212(feed.feed_id, source))
        if isinstance(source, RtspSource):
            return Recording(
                self._wiring, feed, source, environ=self._secrets, spool_bytes=self._camera_bytes
            )
        return None

    def _mqtt(self, feed_id: str, source: MqttSource) -> _Listener:
        if source.ca_file is not None:
            located = str(self._wiring.in_home(source.ca_file))
            source = source.model_copy(update={"ca_file": located})
        return MqttListener(
            feed_id, source, self._keep, environ=self._secrets, clock=self._wiring.clock
        )

    def _hj212(self, feed_id: str, source: Hj212Source) -> _Listener:
        return Hj212Listener(
            feed_id, source, self._keep, environ=self._secrets, clock=self._wiring.clock
        )


def _changed(before: Feed, now: Feed) -> bool:
    return (before.source, before.clock_offset_s) != (now.source, now.clock_offset_s)


class _Listening:
    """Keeps one listener going in a thread, and tries again when it fails."""

    def __init__(self, feed_id: str, listener: Callable[[], _Listener]) -> None:
        self._feed_id, self._listener = feed_id, listener
        self._stop = threading.Event()
        self._current: _Listener | None = None
        self._failure = ""
        self._thread = threading.Thread(target=self._run, name=f"listen-{feed_id}", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self, timeout_s: float = 60.0) -> None:
        self._stop.set()
        self._thread.join(timeout_s)

    def is_alive(self) -> bool:
        return self._thread.is_alive()

    def report(self, now: datetime) -> CollectorReport:
        listener = self._current
        problem = self._failure if listener is None else listener.problem
        refusals = listener.refusals if isinstance(listener, Hj212Listener) else ""
        return CollectorReport(
            at=now,
            state=RETRYING if problem or listener is None else LISTENING,
            last_error=problem or (f"refused since the start: {refusals}" if refusals else None),
        )

    def _run(self) -> None:
        wait_s = _FIRST_WAIT_S
        while not self._stop.is_set():
            began = time.monotonic()
            try:
                self._current = self._listener()
                self._current.run(self._stop)
            except SightlineError as error:
                self._current, self._failure = None, str(error)
                _LOG.warning("feed %s: %s", self._feed_id, error)
                lasted = time.monotonic() - began > _LONGEST_WAIT_S
                wait_s = _FIRST_WAIT_S if lasted else min(_LONGEST_WAIT_S, wait_s * 2)
                self._stop.wait(random.uniform(0.5, 1.0) * wait_s)  # noqa: S311
