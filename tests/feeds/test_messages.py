"""Messages are acknowledged after their batch is kept, in order, and never before."""

import threading
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enforcement.errors import BadFootage, StoreUnavailable
from feeds.messages import Batcher, BatchLimits, Message, decode_batch, encode_batch

AT = datetime(2026, 11, 24, 8, 0, tzinfo=UTC)
SLOW = BatchLimits(longest_s=60.0)


def message(number: int) -> Message:
    return Message(AT + timedelta(seconds=number), str(number).encode())


class Peer:
    """What was kept and what was acknowledged, in the order in which it happened."""

    def __init__(self) -> None:
        self.events: list[tuple[str, list[int]]] = []
        self.away = threading.Event()
        self.tried = threading.Event()

    def keep(self, feed_id: str, batch: bytes, first_received_at: datetime) -> None:
        assert feed_id == "station"
        self.tried.set()
        if self.away.is_set():
            raise StoreUnavailable("the store is away")
        messages = decode_batch(batch)
        assert first_received_at == messages[0].received_at
        self.events.append(("kept", [int(one.payload) for one in messages]))

    def acknowledge(self, tokens: Sequence[int]) -> None:
        self.events.append(("acknowledged", list(tokens)))

    def batcher(self, limits: BatchLimits = SLOW) -> Batcher[int]:
        return Batcher("station", self.keep, self.acknowledge, limits)

    def wait_for(self, events: int, within_s: float = 5.0) -> None:
        until = time.monotonic() + within_s
        while len(self.events) < events:
            assert time.monotonic() < until, self.events
            time.sleep(0.005)


@given(
    st.lists(
        st.builds(
            Message,
            st.datetimes(timezones=st.just(timezone(timedelta(hours=8)))),
            st.binary(max_size=50),
            st.text(st.characters(exclude_categories=["Cs"]), max_size=10),
        ),
        max_size=5,
    )
)
def test_a_batch_gives_back_what_was_put_in(messages: list[Message]) -> None:
    batch = encode_batch(messages)
    assert decode_batch(batch) == messages
    assert batch == encode_batch(decode_batch(batch)), "the same messages, the same bytes"
    assert batch.count(b"\n") == len(messages)


def test_a_batch_is_text_that_others_can_read() -> None:
    batch = encode_batch([Message(AT, b"\x00\xff", "a/b"), Message(AT, b"")])
    assert batch.decode("ascii") == (
        '{"received_at":"2026-11-24T08:00:00.000000+00:00","topic":"a/b","payload":"AP8="}\n'
        '{"received_at":"2026-11-24T08:00:00.000000+00:00","payload":""}\n'
    )


@pytest.mark.parametrize(
    "line",
    [
        b"no json",
        b"[]",
        b'{"received_at":"2026-11-24T08:00:00+00:00"}',
        b'{"received_at":"2026-11-24T08:00:00","payload":""}',
        b'{"received_at":"yesterday","payload":""}',
        b'{"received_at":"2026-11-24T08:00:00+00:00","payload":"A"}',
        b'{"received_at":"2026-11-24T08:00:00+00:00","payload":"??=="}',
        b'{"received_at":"2026-11-24T08:00:00+00:00","payload":"","topic":1}',
        b'{"received_at":"2026-11-24T08:00:00+00:00","payload":"","more":1}',
        b"\xff",
    ],
)
def test_what_is_no_batch_is_refused_by_line(line: bytes) -> None:
    with pytest.raises(BadFootage, match="line 2"):
        decode_batch(encode_batch([message(1)]) + line + b"\n")


def test_nothing_is_acknowledged_before_it_is_kept() -> None:
    peer = Peer()
    with peer.batcher(BatchLimits(messages=3, longest_s=60.0)) as batcher:
        for number in range(6):
            assert batcher.add(message(number), number)
        peer.wait_for(4)
    assert peer.events == [
        ("kept", [0, 1, 2]),
        ("acknowledged", [0, 1, 2]),
        ("kept", [3, 4, 5]),
        ("acknowledged", [3, 4, 5]),
    ]


def test_a_batch_is_closed_by_time() -> None:
    peer = Peer()
    with peer.batcher(BatchLimits(longest_s=0.2)) as batcher:
        began = time.monotonic()
        batcher.add(message(0), 0)
        peer.wait_for(2)
        assert time.monotonic() - began > 0.19


def test_a_batch_is_closed_by_size() -> None:
    peer = Peer()
    with peer.batcher(BatchLimits(size=100, longest_s=60.0, quiet_s=60.0)) as batcher:
        batcher.add(Message(AT, b"7" * 60), 0)
        batcher.add(Message(AT, b"8" * 60), 1)
        peer.wait_for(2)
    assert len(peer.events[0][1]) == 2


def test_a_burst_that_stopped_dead_is_not_kept_waiting() -> None:
    """The peer's window is full: it waits for us, and we must not wait for it."""
    peer = Peer()
    with peer.batcher() as batcher:
        for number in range(20):
            batcher.add(message(number), number)
        peer.wait_for(2)
    assert peer.events[0] == ("kept", list(range(20)))


def test_a_slow_sensor_does_not_make_a_capture_of_each_message() -> None:
    peer = Peer()
    with peer.batcher(BatchLimits(longest_s=60.0)) as batcher:
        for number in range(3):
            batcher.add(message(number), number)
            time.sleep(0.15)
        assert peer.events == []
    assert peer.events[0] == ("kept", [0, 1, 2])


def test_while_nothing_can_be_kept_the_peer_has_to_wait() -> None:
    peer = Peer()
    peer.away.set()
    limits = BatchLimits(messages=2, waiting=2, longest_s=0.01, retry_s=0.02)
    with peer.batcher(limits) as batcher:
        taken = 0
        until = time.monotonic() + 0.5
        while time.monotonic() < until:
            taken += batcher.offer(message(taken), taken)
        assert peer.events == []
        assert taken <= 2 + 4, "one batch in hand, two waiting"
        peer.away.clear()
        assert batcher.add(message(taken), taken)
    kept = [number for what, numbers in peer.events if what == "kept" for number in numbers]
    acknowledged = [n for what, numbers in peer.events if what == "acknowledged" for n in numbers]
    assert kept == acknowledged == list(range(taken + 1))
    assert batcher.kept == taken + 1


def test_what_cannot_be_kept_at_the_end_is_not_acknowledged() -> None:
    peer = Peer()
    peer.away.set()
    batcher = peer.batcher()
    batcher.add(message(0), 0)
    began = time.monotonic()
    batcher.close()
    assert time.monotonic() - began < 2.0
    assert peer.tried.is_set()
    assert peer.events == []
    assert not batcher.add(message(1), 1), "closed"


def test_an_error_that_nobody_expects_is_not_swallowed() -> None:
    def keep(feed_id: str, batch: bytes, first_received_at: datetime) -> None:
        raise ZeroDivisionError

    batcher: Batcher[int] = Batcher(
        "station", keep, lambda tokens: None, BatchLimits(longest_s=0.0)
    )
    batcher.check()
    batcher.add(message(0), 0)
    with pytest.raises(ZeroDivisionError):
        batcher._work.result(5)
    with pytest.raises(ZeroDivisionError):
        batcher.check()
    with pytest.raises(ZeroDivisionError):
        batcher.close()
