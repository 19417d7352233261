"""Stations over real TCP connections: what is kept is acknowledged, the rest is counted."""

import itertools
import logging
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime

import pytest

from enforcement.errors import ConfigurationError, FeedUnavailable, StoreUnavailable
from enforcement.places import Hj212Source
from feeds.hj212 import PacketParser, acknowledgement, framed, packet_of
from feeds.hj212_listener import Hj212Listener
from feeds.messages import BatchLimits, decode_batch
from tests.feeds.mqtt_broker import free_port, wait_for_port

PASSWORD = "Zq19secret"
ENVIRON = {"STATION_PASSWORD": PASSWORD}
MN = "010000A8900016F000169DC0"
QUICK = BatchLimits(longest_s=0.1, retry_s=0.05)


class Archive:
    """What was kept; can be away."""

    def __init__(self) -> None:
        self.payloads: list[bytes] = []
        self.away = threading.Event()
        self.tried = threading.Event()

    def keep(self, feed_id: str, batch: bytes, first_received_at: datetime) -> None:
        self.tried.set()
        if self.away.is_set():
            raise StoreUnavailable("the store is away")
        self.payloads += [message.payload for message in decode_batch(batch)]


class Station:
    """A station that sends bytes and reads acknowledgements."""

    def __init__(self, port: int) -> None:
        self.connection = socket.create_connection(("127.0.0.1", port), timeout=5)
        self._parser = PacketParser()
        self._answers: list[bytes] = []

    def send(self, *packets: bytes) -> None:
        for one in packets:
            self.connection.sendall(one)

    def answers(self, number: int, within_s: float = 5.0) -> list[bytes]:
        """The next answers; fewer if no more come in time."""
        until = time.monotonic() + within_s
        while len(self._answers) < number and time.monotonic() < until:
            self.connection.settimeout(max(0.01, until - time.monotonic()))
            try:
                data = self.connection.recv(65536)
            except TimeoutError:
                break
            if not data:
                break
            self._answers += [one.raw for one in self._parser.feed(data)]
        given, self._answers = self._answers[:number], self._answers[number:]
        return given

    def is_cut_off(self, within_s: float = 5.0) -> bool:
        self.connection.settimeout(within_s)
        try:
            return self.connection.recv(65536) == b""
        except TimeoutError:
            return False
        except ConnectionError:
            return True


def packet(
    number: int, *, mn: str = MN, pw: str = PASSWORD, flag: int = 5, more: str = ""
) -> bytes:
    qn = f"20260801{number:09}"
    head = f"QN={qn};ST=32;CN=2011;PW={pw};MN={mn};Flag={flag};{more}"
    return framed(f"{head}CP=&&DataTime=20260801000000;a-Rtd={number},a-Flag=N&&".encode())


def answer_to(one: bytes) -> bytes:
    return acknowledgement(packet_of(one))


@contextmanager
def listening(
    archive: Archive, limits: BatchLimits = QUICK, **settings: object
) -> Iterator[tuple[Hj212Listener, int]]:
    port = free_port()
    stations = [{"mn": MN, "password_variable": "STATION_PASSWORD"}, {"mn": "OTHER"}]
    source = Hj212Source.model_validate({"port": port, "stations": stations} | settings)
    listener = Hj212Listener(
        "river", source, archive.keep, environ=ENVIRON, clock=lambda: datetime.now(UTC),
        limits=limits,
    )  # fmt: skip
    stop = threading.Event()
    thread = threading.Thread(target=listener.run, args=(stop,))
    thread.start()
    try:
        wait_for_port(port)
        yield listener, port
    finally:
        stop.set()
        thread.join(20)
        assert not thread.is_alive()


@contextmanager
def station(port: int) -> Iterator[Station]:
    one = Station(port)
    try:
        yield one
    finally:
        one.connection.close()


def counted(listener: Hj212Listener, name: str, number: int) -> None:
    until = time.monotonic() + 5
    while listener.counts[name] < number:
        assert time.monotonic() < until, listener.counts
        time.sleep(0.01)


def test_packets_are_kept_as_received_and_then_acknowledged() -> None:
    archive = Archive()
    packets = [packet(number) for number in range(100)]
    with listening(archive) as (listener, port), station(port) as one:
        one.send(*packets)
        assert one.answers(100) == [answer_to(one) for one in packets]
        assert archive.payloads == packets
        assert listener.counts == {"packets": 100}


def test_a_packet_that_asks_for_no_answer_gets_none() -> None:
    archive = Archive()
    with listening(archive) as (_, port), station(port) as one:
        one.send(packet(1, flag=4), packet(2))
        assert one.answers(2, within_s=1.0) == [answer_to(packet(2))]
    assert archive.payloads == [packet(1, flag=4), packet(2)]


def test_nothing_is_acknowledged_before_it_is_kept() -> None:
    archive = Archive()
    archive.away.set()
    with listening(archive) as (_, port), station(port) as one:
        one.send(packet(1))
        assert archive.tried.wait(5)
        assert one.answers(1, within_s=0.5) == []
        archive.away.clear()
        assert one.answers(1) == [answer_to(packet(1))]


def test_while_the_store_is_away_the_station_has_to_wait() -> None:
    archive = Archive()
    archive.away.set()
    limits = BatchLimits(messages=10, longest_s=0.05, retry_s=0.05)
    with listening(archive, limits) as (listener, port), station(port) as one:
        one.send(*(packet(number) for number in range(200)))
        counted(listener, "packets", 50)
        time.sleep(0.3)
        assert listener.counts["packets"] <= 60, "one batch in hand, four waiting"
        archive.away.clear()
        assert len(one.answers(200, within_s=10)) == 200


def test_what_is_no_packet_of_a_known_station_is_counted_and_gets_no_answer() -> None:
    archive = Archive()
    good = packet(1)
    with listening(archive) as (listener, port), station(port) as one:
        one.send(
            b"noise\r\n",
            good.replace(b"a-Rtd=1", b"a-Rtd=2"),
            good.replace(b"##01", b"##02"),
            packet(2, mn="STRANGER"),
            packet(3, pw="wrong"),
            packet(4, pw=""),
            framed(b"x"),
            good,
            packet(5, mn="OTHER", pw="any"),
        )
        assert one.answers(2) == [answer_to(good), answer_to(packet(5, mn="OTHER", pw="any"))]
        assert listener.counts == {
            "packets": 2,
            "noise": 1,
            "checksum": 1,
            "length": 1,
            "form": 1,
            "unknown_station": 1,
            "wrong_password": 2,
        }
    assert len(archive.payloads) == 2


def test_a_packet_sent_again_is_acknowledged_again_and_counted() -> None:
    archive = Archive()
    with listening(archive) as (listener, port):
        for _ in range(2):
            with station(port) as one:
                one.send(packet(1))
                assert one.answers(1) == [answer_to(packet(1))]
        assert listener.counts == {"packets": 2, "duplicate": 1}


def test_every_part_is_acknowledged_and_the_last_holds_all() -> None:
    archive = Archive()
    parts = [packet(7, flag=7, more=f"PNUM=3;PNO={number};") for number in (1, 2, 3)]
    with listening(archive) as (_, port), station(port) as one:
        for part in parts:
            one.send(part)
            assert one.answers(1) == [answer_to(part)]
    assert archive.payloads == [parts[0], parts[1], b"".join(parts)]
    assert not packet_of(archive.payloads[2]).is_part


def test_a_silent_connection_is_closed_and_others_go_on() -> None:
    archive = Archive()
    with listening(archive, idle_s=1.0) as (_, port), station(port) as silent:
        assert silent.is_cut_off()
        with station(port) as one:
            one.send(packet(1))
            assert len(one.answers(1)) == 1


def test_no_more_connections_than_configured() -> None:
    archive = Archive()
    with listening(archive, connections=2) as (listener, port):
        with station(port) as one:
            one.send(packet(9))
            assert len(one.answers(1)) == 1
        until = time.monotonic() + 5
        while listener._writers and time.monotonic() < until:
            time.sleep(0.01)
        with station(port) as first, station(port) as second:
            for number, one in enumerate((first, second)):
                one.send(packet(number))
                assert len(one.answers(1)) == 1
            with station(port) as third:
                assert third.is_cut_off()
        counted(listener, "too_many_connections", 1)
        with station(port) as again:
            again.send(packet(3))
            assert len(again.answers(1)) == 1


def test_a_station_that_never_reads_its_answers_is_cut_off() -> None:
    archive = Archive()
    limits = BatchLimits(messages=2000, longest_s=0.05)
    with listening(archive, limits) as (listener, port), station(port) as one:
        one.connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        chunk = b"".join(packet(number) for number in range(1000))
        with pytest.raises(OSError, match=r"reset|Broken pipe|timed out"):
            one.send(*itertools.repeat(chunk, 200))
        assert listener.counts["cut_off"] == 1


def test_at_the_end_all_that_came_is_kept_and_acknowledged() -> None:
    archive = Archive()
    one = None
    with listening(archive, BatchLimits(longest_s=60.0, quiet_s=60.0)) as (listener, port):
        one = Station(port)
        one.send(packet(1), packet(2))
        counted(listener, "packets", 2)
        assert archive.payloads == []
    assert archive.payloads == [packet(1), packet(2)]
    assert one.answers(2) == [answer_to(packet(1)), answer_to(packet(2))]
    assert one.is_cut_off()
    one.connection.close()


def test_what_was_cut_off_at_the_end_of_a_connection_is_counted() -> None:
    archive = Archive()
    with listening(archive) as (listener, port):
        with station(port) as one:
            one.send(packet(1)[:40])
        counted(listener, "length", 1)
    assert archive.payloads == []


def test_passwords_come_from_the_environment_and_go_nowhere_else(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    archive = Archive()
    archive.away.set()
    with listening(archive) as (_, port), station(port) as one:
        one.send(packet(1), packet(2, pw="wrong-one"), packet(3)[:-8] + b"\r\n")
        assert archive.tried.wait(5)
    assert caplog.text, "the store is away: that is said"
    assert PASSWORD not in caplog.text
    assert "wrong-one" not in caplog.text
    source = Hj212Source.model_validate(
        {"port": 1, "stations": [{"mn": MN, "password_variable": "MISSING"}]}
    )
    with pytest.raises(ConfigurationError, match="MISSING"):
        Hj212Listener(
            "river", source, archive.keep, environ=ENVIRON, clock=lambda: datetime.now(UTC)
        )


def test_an_error_that_nobody_expects_ends_the_listener() -> None:
    """Whoever started it can then start it anew; a listener that can't keep must not stay."""

    def keep(feed_id: str, batch: bytes, first_received_at: datetime) -> None:
        raise ZeroDivisionError

    port = free_port()
    source = Hj212Source.model_validate({"port": port, "stations": [{"mn": MN}]})
    listener = Hj212Listener("river", source, keep, environ={}, clock=lambda: datetime.now(UTC))
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(listener.run, threading.Event())
        wait_for_port(port)
        with station(port) as one:
            one.send(packet(1))
            with pytest.raises(ZeroDivisionError):
                running.result(20)


def test_a_port_that_is_taken_is_said() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        source = Hj212Source.model_validate({"port": port, "stations": [{"mn": MN}]})
        listener = Hj212Listener(
            "river", source, Archive().keep, environ={}, clock=lambda: datetime.now(UTC)
        )
        with pytest.raises(FeedUnavailable, match=str(port)):
            listener.run(threading.Event())
