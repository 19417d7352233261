"""Messages of live feeds, and the batches in which they are kept.

A capture of a message feed is a batch: one JSON object a line with ``received_at`` (ISO 8601,
UTC), ``topic`` (only where the feed has topics) and ``payload`` (base64 of the bytes exactly as
received). Nothing is acknowledged to a peer before the batch that holds it is kept.
"""

import json
import logging
import threading
import time
from base64 import b64decode, b64encode
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from types import TracebackType
from typing import Generic, NamedTuple, Self, TypeVar

from enforcement.errors import BadFootage, SightlineError

MEDIA_TYPE = "application/vnd.sightline.messages+jsonl"

Keep = Callable[[str, bytes, datetime], None]
"""Keeps a batch for good: feed id, encoded batch, when its first message was received.

Raises StoreUnavailable as long as it can't.
"""

Token = TypeVar("Token")
"""What a peer needs to acknowledge a message."""

_LOG = logging.getLogger("sightline.collect")

_STOPPED_DEAD = 20
"""Silence this many times the mean gap of a burst means that the peer waits for us."""


class Message(NamedTuple):
    """One message as it came."""

    received_at: datetime
    """By our clock, aware UTC."""
    payload: bytes
    topic: str = ""


@dataclass(frozen=True)
class BatchLimits:
    """When a batch is closed: whatever comes first."""

    messages: int = 1000
    size: int = 4 * 2**20
    """Bytes of payload."""
    longest_s: float = 1.0
    """From the first message on."""
    quiet_s: float = 0.01
    """At least, after a burst that stopped dead: a broker that sends no more than its window
    allows until it is acknowledged would otherwise wait for the whole second."""
    waiting: int = 4
    """Batches' worth of messages that may wait here while one is being kept."""
    retry_s: float = 1.0
    """Between attempts to keep a batch."""


DEFAULT_LIMITS = BatchLimits()


def encode_batch(messages: Iterable[Message]) -> bytes:
    """The batch as it is filed; the same messages give the same bytes."""
    return "".join(map(_line, messages)).encode()


def decode_batch(batch: bytes) -> list[Message]:
    """The messages of a batch in the order of arrival.

    Raises BadFootage that names the line for anything that ``encode_batch`` does not write.
    """
    messages = []
    for number, line in enumerate(batch.splitlines(), 1):
        try:
            entry = json.loads(line)
            received_at = datetime.fromisoformat(entry.pop("received_at"))
            payload = b64decode(entry.pop("payload"), validate=True)
            topic = entry.pop("topic", "")
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise BadFootage(f"line {number} of the batch is no message") from error
        if entry or received_at.utcoffset() is None or not isinstance(topic, str):
            raise BadFootage(f"line {number} of the batch is no message")
        messages.append(Message(received_at.astimezone(UTC), payload, topic))
    return messages


def _line(message: Message) -> str:
    received_at = message.received_at.astimezone(UTC).isoformat(timespec="microseconds")
    topic = f'"topic":{json.dumps(message.topic)},' if message.topic else ""
    payload = b64encode(message.payload).decode()
    return f'{{"received_at":"{received_at}",{topic}"payload":"{payload}"}}\n'


class Batcher(Generic[Token]):
    """Collects messages of one feed, has each batch kept, and only then acknowledges them.

    ``keep`` and ``acknowledge`` are called from one thread of its own, batch after batch in the
    order of arrival. While ``keep`` fails it is tried again and nothing is acknowledged; when the
    buffer is full, :meth:`offer` refuses and :meth:`add` waits, so that the peer has to.
    """

    def __init__(
        self,
        feed_id: str,
        keep: Keep,
        acknowledge: Callable[[Sequence[Token]], None],
        limits: BatchLimits = DEFAULT_LIMITS,
    ) -> None:
        self._feed_id, self._keep, self._acknowledge = feed_id, keep, acknowledge
        self._limits = limits
        self._capacity = limits.messages * limits.waiting, limits.size * limits.waiting
        self._waiting: deque[tuple[float, Message, Token]] = deque()
        self._size = 0
        self._changed = threading.Condition()
        self._closing = threading.Event()
        self._pool = ThreadPoolExecutor(1, thread_name_prefix=f"batches-{feed_id}")
        self._work = self._pool.submit(self._run)
        self.kept = 0
        """Messages that were kept so far."""
        self.problem = ""
        """Why a batch can't be kept at present."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def offer(self, message: Message, token: Token) -> bool:
        """Take the message, or return False if there is no room for it now or any more."""
        with self._changed:
            messages, size = self._capacity
            if len(self._waiting) >= messages or self._size >= size or self._closing.is_set():
                return False
            self._waiting.append((time.monotonic(), message, token))
            self._size += len(message.payload)
            if len(self._waiting) in {1, self._limits.messages} or self._size > self._limits.size:
                self._changed.notify_all()
            return True

    def add(self, message: Message, token: Token) -> bool:
        """Take the message, waiting for room; returns False if it was closed meanwhile."""
        while not self.offer(message, token):
            if self._closing.wait(0.01):
                return False
        return True

    def check(self) -> None:
        """Raise what ended the thread before its time, should that have happened."""
        if self._work.done():
            self._work.result()

    def close(self) -> None:
        """Keep and acknowledge what is there, then end. What can't be kept now is let go of:
        nobody acknowledged it, so its peer sends it again.

        Raises what ended the thread before its time, should that have happened.
        """
        with self._changed:
            self._closing.set()
            self._changed.notify_all()
        self._pool.shutdown(wait=True)
        self._work.result()

    def _run(self) -> None:
        while batch := self._next():
            encoded = encode_batch(message for _, message, _ in batch)
            first = batch[0][1].received_at
            while not self._was_kept(encoded, first):
                if self._closing.wait(self._limits.retry_s):
                    return
            self.kept += len(batch)
            self._acknowledge([token for _, _, token in batch])

    def _was_kept(self, encoded: bytes, first_received_at: datetime) -> bool:
        try:
            self._keep(self._feed_id, encoded, first_received_at)
        except SightlineError as error:
            if not self.problem:
                _LOG.warning("feed %s: messages wait, unacknowledged: %s", self._feed_id, error)
            self.problem = str(error)
            return False
        self.problem = ""
        return True

    def _next(self) -> list[tuple[float, Message, Token]]:
        """The next batch, once it is due; empty when closing and nothing is left."""
        with self._changed:
            while not self._waiting and not self._closing.is_set():
                self._changed.wait()
            while (wait_s := self._due_in_s()) > 0 and not self._closing.is_set():
                self._changed.wait(wait_s)
            batch: list[tuple[float, Message, Token]] = []
            size = 0
            while self._waiting and len(batch) < self._limits.messages and size < self._limits.size:
                batch.append(self._waiting.popleft())
                size += len(batch[-1][1].payload)
            self._size -= size
            return batch

    def _due_in_s(self) -> float:
        """Seconds until the batch should be looked at again; 0 or less if it is due."""
        limits, waiting = self._limits, self._waiting
        if not waiting or len(waiting) >= limits.messages or self._size >= limits.size:
            return 0.0
        now, first, last = time.monotonic(), waiting[0][0], waiting[-1][0]
        due = first + limits.longest_s
        if len(waiting) > 1:
            gap_s = (last - first) / (len(waiting) - 1)
            due = min(due, last + max(limits.quiet_s, gap_s * _STOPPED_DEAD))
        # Looked at soon at first, then less often: a feed that sends all the time costs little.
        return min(due - now, max(limits.quiet_s, now - first))
