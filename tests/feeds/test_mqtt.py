"""MQTT messages are kept before they are acknowledged, whatever becomes of broker and store."""

import logging
import socket
import struct
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest

from enforcement.errors import ConfigurationError, StoreUnavailable
from enforcement.places import MqttSource
from feeds.messages import BatchLimits, Message, decode_batch
from feeds.mqtt import MqttListener
from storage import loopback_tls
from tests.feeds.mqtt_broker import Broker, broker_in, free_port, publish, publisher

PASSWORD = "s3cr:t@/pass"
ENVIRON = {"MQTT_USER": "sightline", "MQTT_PASSWORD": PASSWORD}
PROTOCOLS = ["3.1.1", "5"]


class Archive:
    """What was kept; can be away."""

    def __init__(self) -> None:
        self.messages: list[Message] = []
        self.away = threading.Event()
        self.tried = threading.Event()
        self.refused: set[bytes] = set()
        """Payloads whose batch is not taken."""

    def keep(self, feed_id: str, batch: bytes, first_received_at: datetime) -> None:
        self.tried.set()
        messages = decode_batch(batch)
        if self.away.is_set() or self.refused & {one.payload for one in messages}:
            raise StoreUnavailable("the store is away")
        self.messages += messages

    @property
    def payloads(self) -> list[bytes]:
        return [message.payload for message in self.messages]

    def wait_for(self, payloads: list[bytes], within_s: float = 20.0) -> None:
        until = time.monotonic() + within_s
        while not set(payloads) <= set(self.payloads):
            assert time.monotonic() < until, f"{len(self.payloads)} of {len(payloads)} came"
            time.sleep(0.02)


@contextmanager
def listening(
    source: MqttSource, archive: Archive, limits: BatchLimits | None = None
) -> Iterator[MqttListener]:
    listener = MqttListener(
        "noise", source, archive.keep, environ=ENVIRON, clock=lambda: datetime.now(UTC),
        limits=limits or BatchLimits(longest_s=0.2, retry_s=0.05),
    )  # fmt: skip
    stop = threading.Event()
    thread = threading.Thread(target=listener.run, args=(stop,))
    thread.start()
    try:
        yield listener
    finally:
        stop.set()
        thread.join(20)
        assert not thread.is_alive()


def source_at(port: int, **settings: object) -> MqttSource:
    return MqttSource.model_validate(
        {"host": "127.0.0.1", "port": port, "topics": ["site/#"], "protocol": "3.1.1"} | settings
    )


def numbered(first: int, last: int) -> list[bytes]:
    return [b"%d" % number for number in range(first, last)]


def subscribed(listener: MqttListener) -> None:
    """Wait until the broker knows what the listener wants."""
    until = time.monotonic() + 10
    while listener.problem or not listener._answered.is_set():
        assert time.monotonic() < until, listener.problem
        time.sleep(0.02)


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    with broker_in(tmp_path_factory.mktemp("broker")) as broker:
        yield broker


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_what_is_published_is_kept_once_with_its_topic(broker: Broker, protocol: str) -> None:
    archive, port = Archive(), broker.ports[protocol]
    source = source_at(port, protocol=protocol, client_id=f"once-{protocol[0]}")
    with listening(source, archive) as listener, publisher(port, protocol=protocol) as client:
        subscribed(listener)
        publish(client, numbered(0, 500), "site/a/noise")
        archive.wait_for(numbered(0, 500))
    assert archive.payloads == numbered(0, 500)
    assert {message.topic for message in archive.messages} == {"site/a/noise"}
    assert all(message.received_at.tzinfo is UTC for message in archive.messages)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_what_comes_while_nobody_listens_is_sent_later(broker: Broker, protocol: str) -> None:
    archive, port = Archive(), broker.ports[protocol]
    source = source_at(port, protocol=protocol, client_id=f"later-{protocol[0]}")
    with publisher(port, protocol=protocol) as client:
        with listening(source, archive) as listener:
            subscribed(listener)
        publish(client, numbered(0, 50))
        with listening(source, archive):
            archive.wait_for(numbered(0, 50))
    assert archive.payloads == numbered(0, 50)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_what_could_not_be_kept_is_sent_again(broker: Broker, protocol: str) -> None:
    lost, archive, port = Archive(), Archive(), broker.ports[protocol]
    source = source_at(port, protocol=protocol, client_id=f"again-{protocol[0]}")
    lost.away.set()
    with publisher(port, protocol=protocol) as client:
        with listening(source, lost) as listener:
            subscribed(listener)
            publish(client, numbered(0, 50))
            assert lost.tried.wait(5)
        with listening(source, archive):
            archive.wait_for(numbered(0, 50))


def test_a_broker_that_speaks_the_older_version_only_is_understood(broker: Broker) -> None:
    archive, port = Archive(), broker.ports["3.1.1"]
    with listening(source_at(port, protocol="auto", client_id="auto"), archive) as listener:
        until = time.monotonic() + 10
        while listener.problem or listener._five:
            assert time.monotonic() < until, listener.problem
            time.sleep(0.02)
        subscribed(listener)
        with publisher(port) as client:
            publish(client, [b"old"])
            archive.wait_for([b"old"])


def test_at_the_end_all_that_came_is_kept_and_acknowledged(broker: Broker) -> None:
    archive, later, port = Archive(), Archive(), broker.ports["3.1.1"]
    source = source_at(port, client_id="end")
    with publisher(port) as client:
        with listening(source, archive, BatchLimits(longest_s=60.0, quiet_s=60.0)) as listener:
            subscribed(listener)
            publish(client, numbered(0, 50))
            time.sleep(0.3)
            assert archive.payloads == []
        assert archive.payloads == numbered(0, 50)
        with listening(source, later):
            publish(client, [b"next"])
            later.wait_for([b"next"])
    assert later.payloads == [b"next"], "nothing was sent again"


def test_a_broker_that_was_killed_is_found_again(tmp_path: Path) -> None:
    archive = Archive()
    with broker_in(tmp_path) as broker:
        port = broker.ports["3.1.1"]
        with listening(source_at(port), archive) as listener:
            subscribed(listener)
            with publisher(port) as client:
                publish(client, [b"before"])
                archive.wait_for([b"before"])
            broker.kill()
            until = time.monotonic() + 10
            while not listener.problem and time.monotonic() < until:
                time.sleep(0.02)
            assert f"127.0.0.1:{port}" in listener.problem
            broker.start()
            subscribed(listener)
            with publisher(port) as client:
                publish(client, [b"after"])
                archive.wait_for([b"after"])


def test_while_the_store_is_away_the_broker_has_to_wait(broker: Broker) -> None:
    archive, port = Archive(), broker.ports["3.1.1"]
    archive.away.set()
    limits = BatchLimits(messages=10, longest_s=0.05, retry_s=0.05)
    with listening(source_at(port, client_id="wait"), archive, limits) as listener:
        subscribed(listener)
        with publisher(port) as client:
            publish(client, numbered(0, 1000))
        assert listener._batcher is not None
        time.sleep(0.3)
        assert len(listener._batcher._waiting) <= 40
        archive.away.clear()
        archive.wait_for(numbered(0, 1000))
    assert archive.payloads == numbered(0, 1000)


def test_credentials_come_from_the_environment_and_go_nowhere_else(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    archive = Archive()
    names = {"user_variable": "MQTT_USER", "password_variable": "MQTT_PASSWORD"}
    with broker_in(tmp_path, users={"sightline": PASSWORD}) as broker:
        port = broker.ports["3.1.1"]
        with listening(source_at(port, **names), archive) as listener:
            subscribed(listener)
        with listening(source_at(port), archive) as stranger:
            until = time.monotonic() + 10
            while not stranger.problem and time.monotonic() < until:
                time.sleep(0.02)
            assert f"127.0.0.1:{port}" in stranger.problem
    assert PASSWORD not in caplog.text
    assert PASSWORD not in listener.problem + stranger.problem
    with pytest.raises(ConfigurationError, match="MISSING") as caught:
        MqttListener(
            "noise", source_at(port, user_variable="MISSING"), archive.keep, environ=ENVIRON,
            clock=lambda: datetime.now(UTC),
        )  # fmt: skip
    assert PASSWORD not in str(caught.value)


# paho leaves the socket of a handshake that failed to the garbage collector.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_tls_is_checked_against_the_configured_authority(tmp_path: Path) -> None:
    for name in ("ours", "others"):
        (tmp_path / name).mkdir()
        loopback_tls.grpc_sections(tmp_path / name)
    ours, others = (tmp_path / name / "grpc-ca.pem" for name in ("ours", "others"))
    certificate = tmp_path / "ours" / "grpc-cert.pem", tmp_path / "ours" / "grpc-key.pem"
    archive = Archive()
    with broker_in(tmp_path, certificate=certificate) as broker:
        port = broker.ports["tls"]
        secure = source_at(port, tls=True, ca_file=str(ours))
        with listening(secure, archive) as listener, publisher(broker.ports["3.1.1"]) as client:
            subscribed(listener)
            publish(client, [b"secure"])
            archive.wait_for([b"secure"])
        with listening(source_at(port, tls=True, ca_file=str(others)), archive) as deceived:
            until = time.monotonic() + 10
            while "cannot be reached" not in deceived.problem:
                assert time.monotonic() < until
                time.sleep(0.02)
    with pytest.raises(ConfigurationError, match="authority"):
        MqttListener(
            "noise", source_at(port, tls=True, ca_file=str(tmp_path / "none")), archive.keep,
            environ=ENVIRON, clock=lambda: datetime.now(UTC),
        )  # fmt: skip


def test_an_error_that_nobody_expects_ends_the_listener(broker: Broker) -> None:
    """Whoever started it can then start it anew; a listener that can't keep must not stay."""

    def keep(feed_id: str, batch: bytes, first_received_at: datetime) -> None:
        raise ZeroDivisionError

    port = broker.ports["3.1.1"]
    listener = MqttListener(
        "noise", source_at(port, client_id="error"), keep, environ=ENVIRON,
        clock=lambda: datetime.now(UTC),
    )  # fmt: skip
    with ThreadPoolExecutor(1) as pool, publisher(port) as client:
        running = pool.submit(listener.run, threading.Event())
        subscribed(listener)
        publish(client, [b"1"])
        with pytest.raises(ZeroDivisionError):
            running.result(20)


def _packet(connection: socket.socket) -> bytes:
    """One short MQTT packet; empty if the peer says nothing for a moment."""
    try:
        head = connection.recv(2)
        return head + (connection.recv(head[1]) if len(head) == 2 and head[1] else b"")
    except TimeoutError:
        return b""


def _welcome(server: socket.socket, message: bytes, granted: bytes = b"\x01") -> socket.socket:
    """Accept a 3.1.1 client, let it subscribe, and send it ``message`` as number 1 at QoS 1."""
    connection, _ = server.accept()
    connection.settimeout(10)
    head = connection.recv(2)
    connection.recv(head[1])
    connection.sendall(b"\x20\x02\x00\x00")
    subscription = _packet(connection)
    connection.sendall(bytes([0x90, 2 + len(granted)]) + subscription[2:4] + granted)
    body = b"\x00\x06site/x" + struct.pack(">H", 1) + message
    connection.sendall(bytes([0x32, len(body)]) + body)
    connection.settimeout(0.5)
    return connection


def test_a_topic_that_is_refused_is_told_and_costs_no_other() -> None:
    archive, port = Archive(), free_port()
    with socket.create_server(("127.0.0.1", port)) as server:
        server.settimeout(10)
        source = source_at(port, topics=["secret/#", "site/#"])
        with listening(source, archive) as listener:
            connection = _welcome(server, b"open", granted=b"\x80\x01")
            archive.wait_for([b"open"])
            assert _packet(connection) == b"\x40\x02\x00\x01"
            assert listener.problem.endswith("refuses the topics secret/#")
            connection.close()


def test_a_broker_that_refuses_all_topics_is_asked_again() -> None:
    archive, port = Archive(), free_port()
    with socket.create_server(("127.0.0.1", port)) as server:
        server.settimeout(10)
        with listening(source_at(port), archive):
            _welcome(server, b"first", granted=b"\x80").close()
            connection = _welcome(server, b"second")
            archive.wait_for([b"second"])
            connection.close()


def test_a_broker_is_asked_to_keep_the_session_and_told_how_much_may_be_under_way() -> None:
    """MQTT 5: without these, our session would end with the connection, and the broker would send
    more than there is room for."""
    port = free_port()
    with socket.create_server(("127.0.0.1", port)) as server:
        server.settimeout(10)
        limits = BatchLimits(messages=50, waiting=4)
        with listening(source_at(port, protocol="5"), Archive(), limits):
            connection, _ = server.accept()
            connection.settimeout(10)
            asked = _packet(connection)
            connection.close()
    assert asked[2:10] == b"\x00\x04MQTT\x05\x00", "MQTT 5, no clean start"
    properties = asked[13 : 13 + asked[12]]
    assert b"\x11" + struct.pack(">I", 30 * 86400) in properties
    assert b"\x21" + struct.pack(">H", 150) in properties


def test_an_old_receipt_never_acknowledges_a_new_message_of_the_same_number() -> None:
    """A broker that lost our session counts from 1 again: our late acknowledgement of the first
    message would make it forget another one, which nobody has kept yet."""
    archive = Archive()
    archive.refused = {b"old", b"new"}
    limits = BatchLimits(messages=1, longest_s=0.0, retry_s=0.05)
    port = free_port()
    with socket.create_server(("127.0.0.1", port)) as server:
        server.settimeout(10)
        with listening(source_at(port), archive, limits):
            first = _welcome(server, b"old")
            assert archive.tried.wait(5)
            assert _packet(first) == b"", "nothing is acknowledged before it is kept"
            first.close()
            second = _welcome(server, b"new")
            archive.refused = {b"new"}
            archive.wait_for([b"old"])
            assert _packet(second) == b"", "that receipt is void"
            archive.refused = set()
            archive.wait_for([b"new"])
            assert _packet(second) == b"\x40\x02\x00\x01"
            second.close()
