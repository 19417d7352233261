"""The collector as a process, on a real broker, real TCP and a real S3 server."""

import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from enforcement.errors import ConfigurationError, EvidenceError, SpoolFull
from enforcement.feed_health import CollectorReport
from feeds.hj212 import PacketParser, acknowledgement, framed, packet_of
from feeds.messages import MEDIA_TYPE, Message, encode_batch
from feeds.spool import Spool
from pipelines import pull
from pipelines.collect import Archive, collect
from pipelines.processes import StopSign
from storage.records import captures
from storage.records.feeds import health
from storage.seaweed import SeaweedServer
from tests.endurance.collecting import (
    COMMAND,
    Installation,
    collect_under_attack,
    installation,
    wait_until,
)
from tests.feeds.mqtt_broker import Broker, broker_in, free_port, publish, publisher, wait_for_port

pytestmark = pytest.mark.timeout(120)

AT = datetime(2026, 11, 24, 8, 0, tzinfo=UTC)
MN = "010000A8900016F000169DC0"


@pytest.fixture
def home(s3_server: SeaweedServer, tmp_path: Path) -> Iterator[Installation]:
    with installation(tmp_path / "home", s3_server) as one:
        yield one


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    with broker_in(tmp_path_factory.mktemp("broker")) as broker:
        yield broker


def batch(number: int) -> bytes:
    return encode_batch([Message(AT, b"%d" % number)])


def packet(number: int) -> bytes:
    head = f"QN=20260801{number:09};ST=32;CN=2011;PW=123456;MN={MN};Flag=5;"
    return framed(f"{head}CP=&&DataTime=20260801000000;a-Rtd={number},a-Flag=N&&".encode())


def hj212_feed(port: int, feed_id: str = "river") -> dict[str, object]:
    return {
        "feed_id": feed_id,
        "source": {"kind": "hj212", "port": port, "stations": [{"mn": MN}]},
    }


def sent(port: int, *packets: bytes) -> list[bytes]:
    """Send packets as a station does; returns the answers."""
    answers: list[bytes] = []
    parser = PacketParser()
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        connection.sendall(b"".join(packets))
        while len(answers) < len(packets) and (data := connection.recv(65536)):
            answers += [one.raw for one in parser.feed(data)]
    return answers


def test_killed_twice_and_with_the_store_away_nothing_is_lost(
    home: Installation, broker: Broker
) -> None:
    outcome = collect_under_attack(
        home, broker.ports["3.1.1"], messages=2000, kills=2, away_s=3.0, rate=250.0
    )
    assert (outcome.lost, outcome.strange, outcome.exit_code) == (0, 0, 0), outcome
    assert outcome.spooled_most > 0, "the store was away: batches waited on disk"
    assert home.spooled() == 0
    assert b"Traceback" not in home.log.read_bytes()


def test_a_batch_is_a_capture_filed_before_the_station_is_told(home: Installation) -> None:
    port = free_port()
    home.write_catalog([hj212_feed(port)])
    home.start()
    wait_for_port(port)
    packets = [packet(number) for number in range(20)]
    assert sent(port, *packets) == [acknowledgement(packet_of(one)) for one in packets]
    # No waiting: what is acknowledged is on record.
    assert home.payloads("river") == packets
    wiring = home.wiring()
    with wiring.database.transaction() as connection:
        (capture, *_) = captures.all_captures(connection)
        due = captures.due_by_feed(connection, 10)
    wiring.database.close()
    assert capture.object.media_type == MEDIA_TYPE
    assert capture.clock_offset_s == 0.0
    assert capture.captured_at <= capture.received_at
    assert capture.object.key.startswith(f"river/{capture.captured_at:%Y/%m/%d}/")
    assert capture.capture_id in due[0], "it is observed like any other capture"


def test_told_to_stop_it_keeps_and_acknowledges_what_has_come(home: Installation) -> None:
    port = free_port()
    home.write_catalog([hj212_feed(port)])
    home.start()
    wait_for_port(port)
    with socket.create_connection(("127.0.0.1", port), timeout=20) as station:
        station.sendall(packet(1))
        time.sleep(0.2)
        assert home.end(signal.SIGTERM) == 0
        assert station.recv(65536) == acknowledgement(packet_of(packet(1)))
    assert home.payloads("river") == [packet(1)]


def test_with_the_store_away_batches_wait_on_disk_and_are_filed_oldest_first(
    home: Installation,
) -> None:
    port = free_port()
    home.write_catalog([hj212_feed(port)])
    home.start()
    wait_for_port(port)
    home.gate.shut()
    for number in range(3):
        assert sent(port, packet(number)) == [acknowledgement(packet_of(packet(number)))]
    assert home.spooled() == 3
    assert home.end(signal.SIGKILL) == -signal.SIGKILL
    home.start()
    wait_for_port(port)
    assert home.spooled() == 3, "a new collector finds what waits"
    home.gate.open()
    wait_until(lambda: home.spooled() == 0, "the spool is drained")
    assert home.payloads("river") == [packet(number) for number in range(3)]


def test_an_edit_of_the_catalog_starts_and_ends_feeds(home: Installation, broker: Broker) -> None:
    first, second = free_port(), free_port()
    home.write_catalog([hj212_feed(first)])
    home.start()
    wait_for_port(first)
    moved = hj212_feed(second)
    mqtt = {"kind": "mqtt", "host": "127.0.0.1", "port": broker.ports["5"], "topics": ["edit/#"]}
    home.write_catalog([moved, {"feed_id": "edit", "source": mqtt}])
    wait_for_port(second)
    with pytest.raises(ConnectionError):
        socket.create_connection(("127.0.0.1", first))
    with publisher(broker.ports["5"], protocol="5") as client:

        def arrives() -> bool:
            publish(client, [b"hello"], "edit/a")
            return b"hello" in home.payloads("edit")

        wait_until(arrives, "the new feed is listened to")
    home.write_catalog([moved | {"enabled": False}])
    wait_until(lambda: not _listens(second), "a disabled feed is let go of")


def _listens(port: int) -> bool:
    with socket.socket() as attempt:
        return attempt.connect_ex(("127.0.0.1", port)) == 0


def test_a_feed_that_fails_is_tried_again_and_disturbs_no_other(home: Installation) -> None:
    port = free_port()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        blocked = taken.getsockname()[1]
        broken = {"kind": "mqtt", "host": "127.0.0.1", "port": 1, "topics": ["a"],
                  "user_variable": "NOT_SET"}  # fmt: skip
        home.write_catalog(
            [
                hj212_feed(blocked, "blocked"),
                {"feed_id": "broken", "source": broken},
                hj212_feed(port),
            ]
        )
        home.start()
        wait_for_port(port)
        assert len(sent(port, packet(1))) == 1
        wait_until(lambda: b"cannot listen" in home.log.read_bytes(), "the failure is told")
    wait_until(lambda: _listens(blocked), "it is tried again")
    log = home.log.read_text()
    assert "NOT_SET" in log
    assert "Traceback" not in log


def test_how_each_feed_is_doing_is_put_on_record(home: Installation) -> None:
    port = free_port()
    broken = {"kind": "mqtt", "host": "127.0.0.1", "port": free_port(), "topics": ["a"]}
    home.write_catalog([{"feed_id": "broken", "source": broken}, hj212_feed(port)])
    home.start()
    wait_for_port(port)
    with socket.create_connection(("127.0.0.1", port), timeout=20) as station:
        station.sendall(packet(1).replace(b"a-Rtd=1", b"a-Rtd=2"))
        wait_until(lambda: "checksum 1" in (_told(home, "river").last_error or ""), "it is told")
    assert _told(home, "river").state == "listening"
    assert _told(home, "broken").state == "retrying"
    assert "cannot be reached" in (_told(home, "broken").last_error or "")
    assert home.end(signal.SIGTERM) == 0
    assert {_told(home, name).state for name in ("river", "broken")} == {"stopped"}


def _told(home: Installation, feed_id: str) -> CollectorReport:
    wiring = home.wiring()
    with wiring.database.transaction() as connection:
        known = health(connection, wiring.clock()).get(feed_id)
    wiring.database.close()
    if known is None or known.collector is None:
        return CollectorReport(at=AT, state="unknown")
    return known.collector


def test_one_home_has_one_collector(home: Installation) -> None:
    port = free_port()
    home.write_catalog([hj212_feed(port)])
    home.start()
    wait_for_port(port)
    told = StopSign()
    told.give()
    with pytest.raises(ConfigurationError, match="another"):
        collect(home.wiring(), told)


def test_the_same_batch_filed_twice_is_one_capture(home: Installation) -> None:
    wiring = home.wiring()
    first = pull.file_batch(wiring, "river", batch(1), AT)
    second = pull.file_batch(wiring, "river", batch(1), AT)
    assert (first[1], second) == (True, (first[0], False))
    wiring.database.close()


def test_nothing_is_kept_when_neither_store_nor_spool_take_it(
    home: Installation, tmp_path: Path
) -> None:
    wiring = home.wiring()
    home.gate.shut()
    archive = Archive(wiring, Spool(tmp_path / "spool", len(batch(1)) + 10))
    archive.keep("river", batch(1), AT)
    with pytest.raises(SpoolFull):
        archive.keep("river", batch(2), AT)
    home.gate.open()
    with archive.draining():
        wait_until(lambda: home.filed() == 1, "the spool is drained")
        wait_until(lambda: not list((tmp_path / "spool").iterdir()), "and empty")
        archive.keep("river", batch(2), AT)
    assert home.payloads("river") == [b"1", b"2"]
    wiring.database.close()


def test_once_the_store_is_back_new_batches_do_not_wait_behind_old_ones(
    home: Installation, tmp_path: Path
) -> None:
    wiring = home.wiring()
    spool = Spool(tmp_path / "spool", 10**6)
    home.gate.shut()
    archive = Archive(wiring, spool)
    archive.keep("river", batch(1), AT)
    home.gate.open()
    archive.keep("river", batch(2), AT)
    assert len(spool.oldest_first()) == 2, "nobody has noticed yet"
    with archive.draining():
        wait_until(lambda: home.filed() == 2, "the spool is drained")
        spool.put("river", batch(3), AT)
        archive.keep("river", batch(4), AT)
        assert b"4" in home.payloads("river"), "filed at once"
    wiring.database.close()


def test_a_wrong_setting_loses_nothing_either(home: Installation, tmp_path: Path) -> None:
    right = home.wiring()
    home.environment["SIGHTLINE_S3_SECRET_KEY"] = "wrong"
    wrong = home.wiring()
    archive = Archive(wrong, Spool(tmp_path / "spool", 10**6))
    archive.keep("river", batch(1), AT)
    with Archive(right, Spool(tmp_path / "spool", 10**6)).draining():
        wait_until(lambda: home.filed() == 1, "the right keys file what waits")
    right.database.close()
    wrong.database.close()


def test_a_batch_that_is_refused_or_damaged_holds_up_no_other(
    home: Installation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wiring = home.wiring()
    spool = Spool(tmp_path / "spool", 10**6)
    for number in range(3):
        spool.put(f"feed-{number}", batch(number), AT)
    damaged = spool.oldest_first()[0]
    damaged.path.write_bytes(b"x")
    real = pull.file_batch

    def refusing(wiring: object, feed_id: str, content: bytes, at: datetime) -> tuple[str, bool]:
        if feed_id == "feed-1":
            raise EvidenceError("the store did not lock it")
        return real(wiring, feed_id, content, at)  # type: ignore[arg-type]

    monkeypatch.setattr("pipelines.collect.file_batch", refusing)
    archive = Archive(wiring, spool)
    with archive.draining():
        wait_until(lambda: home.filed() == 1, "the good one is filed")
    assert home.payloads("feed-2") == [b"2"]
    assert [one.feed_id for one in spool.oldest_first()] == ["feed-1"]
    wiring.database.close()


def test_an_error_that_nobody_expects_ends_the_collector(
    home: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its supervisor starts it anew; what waits in the spool must not be forgotten silently."""

    def broken(*_: object) -> tuple[str, bool]:
        raise ZeroDivisionError

    monkeypatch.setattr("pipelines.collect.file_batch", broken)
    Spool(home.home / "message-spool", 10**6).put("river", batch(1), AT)
    wiring = home.wiring()
    with pytest.raises(ZeroDivisionError):
        collect(wiring, StopSign())
    wiring.database.close()


def test_without_a_catalog_it_says_what_to_do(home: Installation) -> None:
    (home.home / "catalog" / "town.yaml").unlink()
    (home.home / "catalog" / "rules.yaml").unlink(missing_ok=True)
    for path in (home.home / "catalog").iterdir():
        path.unlink()
    (home.home / "catalog").rmdir()
    ended = subprocess.run(
        COMMAND, env=home.environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert ended.returncode != 0
    assert "sightline init" in ended.stderr
