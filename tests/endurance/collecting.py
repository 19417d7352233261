"""A collector under attack: real broker, real S3 server behind a gate that can be shut."""

import contextlib
import json
import os
import random
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from feeds.messages import decode_batch
from pipelines.wiring import Wiring, prepare
from settings.environment import Settings
from storage.records import captures
from storage.seaweed import SeaweedServer
from tests.feeds.mqtt_broker import publish, publisher

COMMAND = [sys.executable, "-m", "pipelines.cli", "collect"]

_QUIET_S, _LONGEST_QUIET_S = 2.0, 30.0


class StoreGate:
    """A way to the S3 server that can be shut: connections are then cut off and refused."""

    def __init__(self, target: str) -> None:
        host, port = target.rsplit(":", 1)
        self._target = host, int(port)
        self._open = threading.Event()
        self._open.set()
        self._pairs: set[socket.socket] = set()
        self._server = socket.create_server(("127.0.0.1", 0))
        self._server.settimeout(0.2)
        self._stop = threading.Event()
        self.endpoint = f"127.0.0.1:{self._server.getsockname()[1]}"
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def shut(self) -> None:
        self._open.clear()
        for one in list(self._pairs):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)

    def open(self) -> None:
        self._open.set()

    def close(self) -> None:
        self._stop.set()
        self.shut()
        self._thread.join(5)
        self._server.close()

    def _accept(self) -> None:
        while not self._stop.is_set():
            try:
                client, _ = self._server.accept()
            except TimeoutError:
                continue
            if not self._open.is_set():
                client.close()
                continue
            server = socket.create_connection(self._target)
            for one in (client, server):
                # Or requests of two pieces take 40 ms longer here than without the gate.
                one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._pairs |= {client, server}
            for one, other in ((client, server), (server, client)):
                threading.Thread(target=self._pass_on, args=(one, other), daemon=True).start()

    def _pass_on(self, one: socket.socket, other: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := one.recv(65536):
                other.sendall(data)
        with contextlib.suppress(OSError):
            other.shutdown(socket.SHUT_RDWR)
        self._pairs.discard(one)
        one.close()


@dataclass
class Installation:
    """One home with a catalog of live feeds."""

    home: Path
    environment: dict[str, str]
    gate: StoreGate
    process: "subprocess.Popen[bytes] | None" = None
    log: Path = field(init=False)

    def __post_init__(self) -> None:
        self.log = self.home / "collect.log"

    def wiring(self) -> Wiring:
        names = {name.removeprefix("SIGHTLINE_").lower() for name in self.environment}
        values: dict[str, Any] = {
            name: self.environment[f"SIGHTLINE_{name.upper()}"]
            for name in names & set(Settings.model_fields)
        }
        return Wiring(Settings(**values))

    def write_catalog(self, feeds: Sequence[dict[str, object]]) -> None:
        whole = [{"title": "Live", "site_id": "town"} | feed for feed in feeds]
        path = self.home / "catalog" / "town.yaml"
        draft = path.with_suffix(".draft")
        draft.write_text(
            json.dumps({"sites": [{"site_id": "town", "title": "Town"}], "feeds": whole})
        )
        draft.replace(path)

    def start(self) -> None:
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                COMMAND, env=self.environment, stdout=log, stderr=log, cwd=self.home
            )

    def end(self, number: signal.Signals) -> int:
        """Send a signal and wait; returns the exit code."""
        assert self.process is not None
        self.process.send_signal(number)
        return self.process.wait(60)

    def spooled(self) -> int:
        """How many batches wait on disk."""
        return len(list((self.home / "message-spool").glob("*.jsonl")))

    def filed(self) -> int:
        """How many captures are on record."""
        with contextlib.closing(sqlite3.connect(self.home / "records.sqlite", timeout=30)) as rows:
            return int(rows.execute("SELECT count(*) FROM captures").fetchone()[0])

    def payloads(self, feed_id: str = "noise") -> list[bytes]:
        """The payloads of all captures of a feed, each verified against its digest."""
        wiring = self.wiring()
        try:
            with wiring.database.transaction() as connection:
                filed = captures.all_captures(connection)
            return [
                message.payload
                for capture in filed
                if capture.feed_id == feed_id
                for message in decode_batch(wiring.store.read(capture.object))
            ]
        finally:
            wiring.database.close()


@contextmanager
def installation(home: Path, s3: SeaweedServer) -> Iterator[Installation]:
    """A fresh home on that S3 server, prepared; its collector is ended in the end."""
    (home / "catalog").mkdir(parents=True)
    gate = StoreGate(s3.endpoint)
    root = Path(__file__).parents[2]
    environment = {k: v for k, v in os.environ.items() if not k.startswith("SIGHTLINE_")} | {
        "PYTHONPATH": str(root),
        "SIGHTLINE_HOME": str(home),
        "SIGHTLINE_S3_ENDPOINT": gate.endpoint,
        "SIGHTLINE_S3_ACCESS_KEY": s3.credentials.access_key,
        "SIGHTLINE_S3_SECRET_KEY": s3.credentials.secret_key,
        "SIGHTLINE_S3_SECURE": "false",
        "SIGHTLINE_S3_BUCKET_PREFIX": f"collect-{random.getrandbits(32):08x}",
    }
    one = Installation(home, environment, gate)
    one.write_catalog([])
    wiring = one.wiring()
    prepare(wiring)
    wiring.database.close()
    try:
        yield one
    finally:
        if one.process is not None and one.process.poll() is None:
            one.process.kill()
            one.process.wait(10)
        gate.close()


def wait_until(condition: Callable[[], bool], what: str, within_s: float = 30.0) -> None:
    until = time.monotonic() + within_s
    while not condition():
        if time.monotonic() > until:
            raise TimeoutError(f"not within {within_s:.0f} s: {what}")
        time.sleep(0.1)


@dataclass(frozen=True)
class Outcome:
    """What became of numbered messages."""

    sent: int
    lost: int
    strange: int
    """Payloads that nobody sent."""
    repeated: int
    """Messages that came more than once: readings are told apart by device, quantity and time."""
    exit_code: int
    spooled_most: int
    """Batches that waited on disk at once."""


def collect_under_attack(
    one: Installation, port: int, messages: int, kills: int, away_s: float, rate: float
) -> Outcome:
    """Publish numbered messages at ``rate`` a second while the collector is killed with SIGKILL
    ``kills`` times and the store is away for ``away_s``; then wait until everything is filed."""
    one.write_catalog([{"feed_id": "noise", "source": {
        "kind": "mqtt", "host": "127.0.0.1", "port": port, "topics": ["site/#"],
    }}])  # fmt: skip
    one.start()
    # The broker keeps nothing for a subscriber that it has never seen.
    with publisher(port) as client:
        wait_until(lambda: _answers(one, client), "the collector listens")
    sending = threading.Thread(target=_send, args=(port, messages, rate))
    sending.start()
    spooled = _attack(one, kills, away_s, messages / rate)
    sending.join()
    expected = {b"%d" % number for number in range(messages)}
    _wait_for_rest(one, expected)
    exit_code = one.end(signal.SIGTERM)
    kept = [payload for payload in one.payloads() if payload != b"hello"]
    distinct = set(kept)
    return Outcome(
        sent=messages,
        lost=len(expected - distinct),
        strange=len(distinct - expected),
        repeated=len(kept) - len(distinct),
        exit_code=exit_code,
        spooled_most=spooled,
    )


def _answers(one: Installation, client: Any) -> bool:
    publish(client, [b"hello"])
    return one.filed() > 0


def _send(port: int, messages: int, rate: float) -> None:
    began = time.monotonic()
    with publisher(port) as client:
        for first in range(0, messages, 100):
            last = min(first + 100, messages)
            publish(client, [b"%d" % number for number in range(first, last)])
            time.sleep(max(0.0, began + last / rate - time.monotonic()))


def _attack(one: Installation, kills: int, away_s: float, lasts_s: float) -> int:
    """Spread kills over the time that sending lasts; the store goes away after two fifths of it,
    and until batches wait on disk.

    Returns how many batches waited on disk at the most.
    """
    chance = random.Random()
    shut_at = lasts_s * 0.4
    events = [(shut_at, "shut"), (shut_at + away_s, "open")]
    events += [
        (lasts_s * (number + chance.uniform(0.2, 0.8)) / kills, "kill") for number in range(kills)
    ]
    began, spooled = time.monotonic(), 0
    for at_s, what in sorted(events):
        while (left_s := began + at_s - time.monotonic()) > 0:
            spooled = max(spooled, one.spooled())
            time.sleep(min(0.2, left_s))
        if what == "kill":
            one.end(signal.SIGKILL)
            one.start()
        elif what == "shut":
            one.gate.shut()
        else:
            # A collector that was killed meanwhile may need seconds to come back.
            until = time.monotonic() + _LONGEST_QUIET_S
            while not spooled and time.monotonic() < until:
                spooled = one.spooled()
                time.sleep(0.1)
            one.gate.open()
    return spooled


def _wait_for_rest(one: Installation, expected: set[bytes]) -> None:
    """Until everything is filed, or nothing has been added for half a minute."""
    last, since = -1, time.monotonic()
    while (quiet_s := time.monotonic() - since) < _LONGEST_QUIET_S:
        if (now := one.filed()) != last:
            last, since = now, time.monotonic()
        elif quiet_s > _QUIET_S and not one.spooled() and expected <= set(one.payloads()):
            return
        time.sleep(0.3)
