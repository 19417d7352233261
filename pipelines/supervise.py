"""``sightline up``: start the parts of an embedded system, keep them running, end them all."""

import signal
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import NoReturn

from enforcement.errors import ConfigurationError, SightlineError
from pipelines import orchestrator
from pipelines.parts import HOST, Peers, StorePart, services
from pipelines.processes import (
    Child,
    Ledger,
    Part,
    StopSign,
    end_parts,
    sole_process,
)
from settings.environment import Settings
from storage import seaweed

Echo = Callable[[str], None]

_GRACE_S = 5.0
_STORE_GRACE_S = 5.0
"""Both graces, and the two seconds after each for killing, add up to 14 s."""

_DEATHS_ALLOWED = 5
_DEATHS_WITHIN_S = 300.0
_BACKOFF_LONGEST_S = 16.0

_LOOK_EVERY_S = 0.5
_PROBE_EVERY_S = 15.0
_SILENT_LONGEST_S = 90.0
_PROGRESS_EVERY_S = 5.0


class _GaveUp(SightlineError):
    """A part of the system does not stay up."""


class _Stopped(BaseException):
    """The system was told to stop; no handler of errors on the way may keep it."""


def run(
    settings: Settings,
    *,
    echo: Echo,
    prepare: Callable[[], list[str]],
    peers: Peers = (),
) -> int:
    """Start everything and keep it running until SIGINT or SIGTERM; returns the exit code.

    ``prepare`` is called once the S3 server answers and before anything else starts; what it
    returns is printed after the READY line. ``peers`` are further processes to keep running, by
    name and command. Raises ConfigurationError before anything starts when a port is taken or
    another supervisor holds this home. Returns 0 when told to stop, 1 when a part fails for good.
    """
    home = settings.home.expanduser().absolute()
    settings = settings.model_copy(update={"home": home})
    home.mkdir(parents=True, exist_ok=True, mode=0o700)
    refusal = (
        f"another `sightline up` runs on {home}: end it, or set SIGHTLINE_HOME and the ports for a"
        " second instance"
    )
    with sole_process(home / "run" / "up.lock", refusal):
        ledger = Ledger(home / "run" / "processes.json")
        if orphans := ledger.end_orphans():
            echo(f"ended {orphans} processes that an earlier run left behind")
        require_free_ports(_ports(settings, peers))
        store = [StorePart(settings, ledger)] if settings.embedded_store else []
        return Supervisor(ledger, echo).run(
            store,
            lambda: [*prepare(), *_notes(home)],
            lambda: [Child(one, ledger, home / "logs") for one in services(settings, peers)],
            _urls(settings, peers),
        )


class Supervisor:
    """Starts parts in two waves, restarts those that end, and ends all of them."""

    def __init__(self, ledger: Ledger, echo: Echo) -> None:
        self._ledger, self._echo = ledger, echo
        self._stop = StopSign()
        self._first: Sequence[Part] = ()
        self._second: Sequence[Part] = ()
        self._deaths: dict[str, deque[float]] = {}
        self._unheard: dict[str, float] = {}

    def run(
        self,
        first: Sequence[Part],
        prepare: Callable[[], list[str]],
        second: Callable[[], Sequence[Part]],
        urls: str,
    ) -> int:
        """Start ``first``, ``prepare``, start ``second``, then watch until told to stop.

        Returns 0 when told to stop, 1 when a part fails for good.
        """
        with self._signals():
            try:
                self._run(first, prepare, second, urls)
            except _Stopped:
                return 0
            except _GaveUp as error:
                self._echo(str(error))
                return 1
            finally:
                self._end()

    def stop(self) -> None:
        """Have ``run`` end everything and return; may be called from any thread."""
        self._stop.give()

    def _run(
        self,
        first: Sequence[Part],
        prepare: Callable[[], list[str]],
        second: Callable[[], Sequence[Part]],
        urls: str,
    ) -> NoReturn:
        began = time.monotonic()
        self._first = first
        self._start(first)
        notes = prepare()
        self._second = second()
        self._start(self._second)
        self._echo(f"READY in {time.monotonic() - began:.0f} s: {urls}")
        for note in notes:
            self._echo(f"  {note}")
        self._watch()

    def _wait(self, seconds: float) -> None:
        if self._stop.wait(seconds):
            raise _Stopped

    def _start(self, parts: Sequence[Part]) -> None:
        """Start the parts side by side and wait until all serve."""
        waiting = list(parts)
        began = told = time.monotonic()
        for part in parts:
            part.start()
        while waiting:
            self._wait(0.1)
            passed_s = time.monotonic() - began
            for part in list(waiting):
                if part.serves():
                    waiting.remove(part)
                    self._echo(f"{part.name} is up ({passed_s:.0f} s)")
                elif not part.running() or passed_s > part.ready_within_s:
                    raise _GaveUp(_failure(part, "did not come up"))
            if waiting and time.monotonic() - told > _PROGRESS_EVERY_S:
                told = time.monotonic()
                self._echo(f"waiting for {', '.join(p.name for p in waiting)} ({passed_s:.0f} s)")

    def _watch(self) -> NoReturn:
        probed = time.monotonic()
        while True:
            self._wait(_LOOK_EVERY_S)
            for part in (*self._first, *self._second):
                if not part.running():
                    self._restart(part, "ended")
            if time.monotonic() - probed > _PROBE_EVERY_S:
                probed = time.monotonic()
                self._probe()

    def _probe(self) -> None:
        """Restart what has not answered for long: a scheduler can hang with its process alive."""
        for part in (*self._first, *self._second):
            part.bound_log()
            if part.serves():
                self._unheard.pop(part.name, None)
            elif time.monotonic() - self._unheard.setdefault(part.name, time.monotonic()) > (
                _SILENT_LONGEST_S
            ):
                self._restart(part, "does not answer")

    def _restart(self, part: Part, why: str) -> None:
        """Start the part again after a while; raises _GaveUp when it ended too often."""
        end_parts([part], _GRACE_S)
        now = time.monotonic()
        deaths = self._deaths.setdefault(part.name, deque())
        deaths.append(now)
        while now - deaths[0] > _DEATHS_WITHIN_S:
            deaths.popleft()
        if len(deaths) >= _DEATHS_ALLOWED:
            raise _GaveUp(_failure(part, "does not stay up"))
        wait_s = min(2.0 ** (len(deaths) - 1), _BACKOFF_LONGEST_S)
        self._echo(f"{part.name} {why}; starting it again in {wait_s:.0f} s")
        self._wait(wait_s)
        part.start()
        self._unheard.pop(part.name, None)

    def _end(self) -> None:
        """End all parts, those that others need last."""
        self._stop.give()
        self._echo("stopping")
        began = time.monotonic()
        end_parts(reversed(self._second), _GRACE_S)
        end_parts(reversed(self._first), _STORE_GRACE_S)
        # What even a kill did not end stays on record for the next start.
        if not any(part.members() for part in (*self._first, *self._second)):
            self._ledger.clear()
        self._echo(f"stopped in {time.monotonic() - began:.1f} s")

    @contextmanager
    def _signals(self) -> Iterator[None]:
        """Turn SIGINT, SIGTERM and a closed terminal into a stop, for as long as this runs."""

        def on_signal(number: int, frame: FrameType | None) -> None:
            # The first one also breaks off whatever is being prepared; later ones change nothing.
            if not self._stop.is_given:
                self._stop.give()
                raise _Stopped

        caught = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.signal(number, on_signal) for number in caught}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def require_free_ports(ports: Sequence[tuple[int, str]]) -> None:
    """Raise ConfigurationError for a port that is taken or wanted twice.

    ``ports`` are numbers, each with the variable that sets it.
    """
    wanted: dict[int, str] = {}
    for port, variable in ports:
        if port in wanted:
            raise ConfigurationError(f"{variable} and {wanted[port]} both want port {port}")
        wanted[port] = variable
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
            # Connections of a server that just ended linger in TIME_WAIT; they don't count.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((HOST, port))
            except OSError as error:
                raise ConfigurationError(
                    f"port {port} is taken: set {variable} to a free one"
                ) from error


def _ports(settings: Settings, peers: Peers) -> list[tuple[int, str]]:
    ports = [
        (settings.review_port, "SIGHTLINE_REVIEW_PORT"),
        (settings.airflow_port, "SIGHTLINE_AIRFLOW_PORT"),
    ]
    if peers:
        ports += [
            (port, "SIGHTLINE_RECEIVER_PORT")
            for port in (settings.receiver_port, settings.station_port)
        ]
    if settings.embedded_store:
        ports += [(port, "SIGHTLINE_S3_PORT") for port in seaweed.Ports(settings.s3_port).taken]
    return ports


def _urls(settings: Settings, peers: Peers) -> str:
    urls = [
        f"review queue {settings.review_link}/",
        f"Airflow http://{HOST}:{settings.airflow_port}/",
    ]
    if peers:
        urls.append(f"receiver http://{HOST}:{settings.receiver_port}/")
    return " | ".join(urls)


def _notes(home: Path) -> list[str]:
    return [
        f"Airflow: {orchestrator.USER} / {orchestrator.password(home)}",
        f"home: {home} (catalog, logs, all state)",
    ]


def _failure(part: Part, what: str) -> str:
    return (
        f"sightline: {part.name} {what}; {part.last_words()}\n"
        "Everything is stopped; nothing that was filed is lost."
    )
