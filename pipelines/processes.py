"""Child processes of one home: start them, watch them, end every one of them, even after a crash.

Each child is the leader of a session of its own, so that Ctrl-C in the terminal reaches only the
supervisor, which then ends the children in order. Every process that descends from a child carries
the ledger's token in its environment; by it, and not by guesswork over names, the processes are
found that a child left behind or that outlived a killed supervisor.
"""

import fcntl
import json
import os
import secrets
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from math import inf
from pathlib import Path
from typing import Protocol, TypedDict

import psutil

from enforcement.errors import ConfigurationError

_TOKEN = "SIGHTLINE_SUPERVISOR"  # noqa: S105 - the variable's name; its value guards nothing
_SERVICE = "SIGHTLINE_SERVICE"

_LOG_LIMIT_BYTES = 16 * 2**20
_LOG_LINES_SHOWN = 15
_KILL_WITHIN_S = 2.0
_LOOK_EVERY_S = 0.05


@dataclass(frozen=True)
class Service:
    """One program to keep running, and how to tell that it serves."""

    name: str
    argv: tuple[str, ...]
    environment: Mapping[str, str]
    """The whole environment of the process; nothing is inherited."""
    probe: Callable[[], bool] = lambda: True
    """Whether it serves now; asked while its process runs, must answer within a few seconds."""
    folder: Path | None = None
    """Working directory; default the supervisor's."""
    ready_within_s: float = 60.0


class StopSign:
    """Says that it is time to stop; may be given from any thread and by a signal's handler.

    A handler must not set a ``threading.Event``: it would wait for ever for the lock that its own
    thread holds while it waits for the event. So this has no lock, and is looked at.
    """

    def __init__(self) -> None:
        self._given = False

    def give(self) -> None:
        """Say it; once is enough."""
        self._given = True

    @property
    def is_given(self) -> bool:
        return self._given

    def wait(self, seconds: float = inf) -> bool:
        """Wait until it is given, for so long at most; tells whether it is."""
        until = time.monotonic() + seconds
        while not self._given and (left_s := until - time.monotonic()) > 0:
            time.sleep(min(left_s, _LOOK_EVERY_S))
        return self._given


class Part(Protocol):
    """What a supervisor keeps running."""

    @property
    def name(self) -> str: ...
    @property
    def ready_within_s(self) -> float: ...

    def start(self) -> None:
        """Start it, without waiting until it serves."""

    def running(self) -> bool:
        """Whether it runs, or is being started."""

    def serves(self) -> bool:
        """Whether it answers; takes a few seconds at most."""

    def members(self) -> list[psutil.Process]:
        """Its process and all that descend from it."""

    def last_words(self) -> str:
        """The last lines that it printed, and where the rest is."""

    def bound_log(self) -> None:
        """Keep its log from filling the disk."""


class _Entry(TypedDict):
    name: str
    pid: int
    pgid: int
    created: float
    """Seconds since the epoch, as psutil reports it: pid and creation time name one process."""


class Ledger:
    """The file that says which processes this home's supervisor started."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.token = secrets.token_hex(16)
        self._entries: dict[str, _Entry] = {}

    def record(self, name: str, pid: int) -> None:
        """Note a process just started; it is on disk when this returns."""
        try:
            created = psutil.Process(pid).create_time()
        except psutil.NoSuchProcess:  # ended already: its supervisor will notice
            return
        self._entries[name] = {"name": name, "pid": pid, "pgid": pid, "created": created}
        self._write()

    def clear(self) -> None:
        """Forget all: every process has ended."""
        self._path.unlink(missing_ok=True)

    def end_orphans(self, grace_s: float = 5.0) -> int:
        """End what an earlier supervisor of this home left running; returns how many there were."""
        try:
            earlier = json.loads(self._path.read_text("utf-8"))
            token, entries = str(earlier["token"]), list(earlier["processes"])
        except FileNotFoundError:
            return 0
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ConfigurationError(
                f"{self._path} is damaged: end what still runs of Sightline, then delete the file"
            ) from error
        orphans = {p.pid: p for p in members(token)} | {p.pid: p for p in _same(entries)}
        end(lambda: [p for p in orphans.values() if _runs(p)] + members(token), grace_s)
        self.clear()
        return len(orphans)

    def _write(self) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        draft = self._path.with_suffix(".new")
        state = {"token": self.token, "processes": list(self._entries.values())}
        draft.write_text(json.dumps(state, indent=1), "utf-8")
        draft.replace(self._path)


class Child:
    """A service's process, started again as often as it may be."""

    def __init__(self, service: Service, ledger: Ledger, logs: Path) -> None:
        self.name = service.name
        self.ready_within_s = service.ready_within_s
        self._service, self._ledger = service, ledger
        self._log = logs / f"{service.name}.log"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start the process; raises ConfigurationError if its program can't be run."""
        self.bound_log()
        self._log.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with self._log.open("ab") as log:
            try:
                self._process = subprocess.Popen(
                    self._service.argv,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    cwd=self._service.folder,
                    env=self._environment(),
                    start_new_session=True,
                    umask=0o077,
                )
            except OSError as error:
                program = self._service.argv[0]
                raise ConfigurationError(f"cannot run {self.name} ({program})") from error
        self._ledger.record(self.name, self._process.pid)

    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def serves(self) -> bool:
        return self.running() and self._service.probe()

    def members(self) -> list[psutil.Process]:
        # An ended leader that nobody has waited for would count as running.
        self.running()
        return members(self._ledger.token, self.name)

    def last_words(self) -> str:
        return last_lines(self._log)

    def bound_log(self) -> None:
        """Keep a log that has grown too long as ``….log.1`` and go on with an empty one.

        The file is emptied in place, since a running process may append to it.
        """
        log = self._log
        if log.exists() and log.stat().st_size > _LOG_LIMIT_BYTES:
            with log.open("rb") as full, log.with_suffix(".log.1").open("wb") as kept:
                full.seek(-_LOG_LIMIT_BYTES, os.SEEK_END)
                kept.write(full.read())
            os.truncate(log, 0)

    def _environment(self) -> dict[str, str]:
        return {
            **self._service.environment,
            _TOKEN: self._ledger.token,
            _SERVICE: self.name,
            # Without it, programs that set their title overwrite the environment that we look for.
            "SPT_NOENV": "1",
        }


def last_lines(log: Path) -> str:
    """The end of a log file, indented, under a line that names the file."""
    if not log.exists():
        return f"it printed nothing to {log}"
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - 16384))
        lines = file.read().decode("utf-8", "replace").splitlines()
    return "\n".join([f"the end of {log}:", *(f"  {line}" for line in lines[-_LOG_LINES_SHOWN:])])


def end_parts(parts: Iterable[Part], grace_s: float) -> None:
    """End the parts with all their descendants: ask, and after ``grace_s`` kill."""
    ending = list(parts)
    end(lambda: [process for part in ending for process in part.members()], grace_s)


def end(processes: Callable[[], list[psutil.Process]], grace_s: float) -> None:
    """Ask the processes to end, then kill; ``processes`` says afresh which there are.

    Returns when none is left, or ``grace_s`` plus two seconds later at the latest.
    """
    asked: set[int] = set()
    deadline = time.monotonic() + grace_s
    while left := processes():
        late = time.monotonic() > deadline
        for process in left:
            # Those that started while the others were asked get their turn, too.
            if late or process.pid not in asked:
                _signal(process, kill=late)
                asked.add(process.pid)
        if time.monotonic() > deadline + _KILL_WITHIN_S:
            return
        time.sleep(0.1)


def members(token: str, service: str | None = None) -> list[psutil.Process]:
    """All running processes that carry this ledger's token, or those of one service."""
    found = []
    for process in psutil.process_iter():
        try:
            environment = process.environ()
            if environment.get(_TOKEN) == token and _runs(process):
                found += [process] if service in {None, environment.get(_SERVICE)} else []
        except (psutil.Error, OSError):  # it ended meanwhile, or is another user's
            continue
    return found


@contextmanager
def sole_process(path: Path, refusal: str) -> Iterator[None]:
    """Hold a lock; raises ConfigurationError with that text if another process holds it.

    The kernel lets go of it when the process ends, however it ends.
    """
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with path.open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ConfigurationError(refusal) from error
        yield


def _same(entries: list[_Entry]) -> list[psutil.Process]:
    """The processes of the entries that still run: same pid and same creation time."""
    found = []
    for entry in entries:
        try:
            process = psutil.Process(entry["pid"])
            # psutil's times have the kernel's resolution of 0.01 s.
            if abs(process.create_time() - entry["created"]) < 0.05 and _runs(process):
                found.append(process)
        except psutil.NoSuchProcess:
            continue
    return found


def _runs(process: psutil.Process) -> bool:
    """Whether it runs; one that has ended and that nobody has waited for yet does not."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _signal(process: psutil.Process, *, kill: bool) -> None:
    try:
        if kill:
            process.kill()
        else:
            process.terminate()
    except psutil.NoSuchProcess:
        return
