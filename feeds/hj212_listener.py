"""HJ 212 over TCP: stations connect here, and are told once their packets are kept."""

import asyncio
import contextlib
import hmac
import logging
import threading
from collections import Counter, OrderedDict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime
from functools import partial
from itertools import groupby
from operator import itemgetter

from enforcement.errors import ConfigurationError, FeedUnavailable
from enforcement.places import Hj212Source
from feeds.hj212 import Packet, PacketParser, Reassembler, acknowledgement
from feeds.messages import DEFAULT_LIMITS, Batcher, BatchLimits, Keep, Message

_LOG = logging.getLogger("sightline.collect")

_LOOK_EVERY_S = 0.1
_FULL_WAIT_S = 0.02
_PIECE = 65_536
_UNREAD_MOST = 64 * 1024
"""Bytes of answers that a station may leave unread before it is cut off."""
_REMEMBERED = 10_000
"""Packets by which one that is sent again is known."""

PACKETS, DUPLICATE = "packets", "duplicate"
UNKNOWN_STATION, WRONG_PASSWORD = "unknown_station", "wrong_password"
CUT_OFF, TOO_MANY = "cut_off", "too_many_connections"

_Answer = tuple[asyncio.StreamWriter, Packet]


class Hj212Listener:
    """Listens on the TCP port of one feed.

    Every packet of a known station is a message whose payload is the packet as received. The part
    that completes a split packet holds the earlier parts as well, so that every message can be
    read by itself. What is refused is counted, neither kept nor acknowledged.

    ``environ`` holds the stations' passwords; raises ConfigurationError if one is missing.
    """

    def __init__(
        self,
        feed_id: str,
        source: Hj212Source,
        keep: Keep,
        *,
        environ: Mapping[str, str],
        clock: Callable[[], datetime],
        limits: BatchLimits = DEFAULT_LIMITS,
    ) -> None:
        self._feed_id, self._source, self._keep, self._clock = feed_id, source, keep, clock
        self._limits = limits
        self._passwords = {
            station.mn: self._password(environ, station.password_variable)
            for station in source.stations
        }
        self._recent: OrderedDict[tuple[str, str, str, int], None] = OrderedDict()
        self._writers: set[asyncio.StreamWriter] = set()
        self.counts: Counter[str] = Counter()
        """``packets`` taken, refusals by reason (:class:`~feeds.hj212.Refusal`, and the names
        above), and ``duplicate`` for packets that a station sent again: those are kept too."""
        self._batcher: Batcher[_Answer] | None = None

    @property
    def problem(self) -> str:
        """Why nothing can be kept at present; empty while all is well."""
        return self._batcher.problem if self._batcher is not None else ""

    @property
    def refusals(self) -> str:
        """What was refused since the start, for those who look after the stations."""
        refused = self.counts.keys() - {PACKETS, DUPLICATE}
        return ", ".join(f"{name} {self.counts[name]}" for name in sorted(refused))

    def run(self, stop: threading.Event) -> None:
        """Listen until told to stop; then keep and acknowledge what has come, and hang up.

        Raises FeedUnavailable if the port can't be had.
        """
        asyncio.run(self._serve(stop))

    def _password(self, environ: Mapping[str, str], variable: str | None) -> str | None:
        if variable is None:
            return None
        if variable not in environ:
            raise ConfigurationError(
                f"feed {self._feed_id} needs the environment variable {variable}"
            )
        return environ[variable]

    async def _serve(self, stop: threading.Event) -> None:
        loop = asyncio.get_running_loop()
        batcher = self._batcher = Batcher(
            self._feed_id,
            self._keep,
            lambda answers: _in_loop(loop, partial(self._answer, answers)),
            self._limits,
        )
        stations: set[asyncio.Task[None]] = set()

        async def welcome(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.current_task()
            if task is not None:
                stations.add(task)
                task.add_done_callback(stations.discard)
            await self._station(reader, writer, batcher)

        try:
            server = await self._listening(welcome)
            try:
                while not stop.is_set():
                    batcher.check()
                    await asyncio.sleep(_LOOK_EVERY_S)
            finally:
                # Not waited for: its connections stay open until they have their answers.
                server.close()
        finally:
            for task in stations:
                task.cancel()
            try:
                # The acknowledgements of the last batch still go out to those who are connected.
                await asyncio.to_thread(batcher.close)
            finally:
                await self._hang_up()

    async def _listening(
        self, welcome: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
    ) -> asyncio.Server:
        host, port = self._source.host, self._source.port
        try:
            return await asyncio.start_server(welcome, host, port, limit=_PIECE)
        except OSError as error:
            raise FeedUnavailable(
                f"feed {self._feed_id} cannot listen on {host}:{port}: {error.strerror}"
            ) from error

    async def _station(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        batcher: Batcher[_Answer],
    ) -> None:
        if len(self._writers) >= self._source.connections:
            self.counts[TOO_MANY] += 1
            writer.close()
            return
        self._writers.add(writer)
        answers_owed = False
        try:
            # OSError: the station is gone, or its network is. TimeoutError: it fell silent.
            with contextlib.suppress(OSError, TimeoutError):
                await self._read(reader, writer, batcher)
        except asyncio.CancelledError:
            # We are stopping: what it sent is still to be kept and acknowledged.
            answers_owed = True
        finally:
            if not answers_owed:
                writer.close()
                self._writers.discard(writer)

    async def _read(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        batcher: Batcher[_Answer],
    ) -> None:
        parser, reassembler = PacketParser(), Reassembler()
        try:
            while data := await asyncio.wait_for(reader.read(_PIECE), self._source.idle_s):
                for packet in parser.feed(data):
                    await self._take(packet, reassembler, writer, batcher)
                self._note(parser)
        finally:
            parser.end()
            self._note(parser)

    async def _take(
        self,
        packet: Packet,
        reassembler: Reassembler,
        writer: asyncio.StreamWriter,
        batcher: Batcher[_Answer],
    ) -> None:
        if not self._admitted(packet):
            return
        self._remember(packet)
        whole = reassembler.add(packet)
        message = Message(self._clock(), whole.raw if whole is not None else packet.raw)
        # While there is no room nothing is read, and the station has to wait.
        while not batcher.offer(message, (writer, packet)):
            await asyncio.sleep(_FULL_WAIT_S)
        self.counts[PACKETS] += 1

    def _admitted(self, packet: Packet) -> bool:
        if packet.mn not in self._passwords:
            self.counts[UNKNOWN_STATION] += 1
            return False
        expected = self._passwords[packet.mn]
        given = packet.password.encode()
        if expected is not None and not hmac.compare_digest(expected.encode(), given):
            self.counts[WRONG_PASSWORD] += 1
            return False
        return True

    def _remember(self, packet: Packet) -> None:
        if packet.key in self._recent:
            self.counts[DUPLICATE] += 1
        self._recent[packet.key] = None
        if len(self._recent) > _REMEMBERED:
            self._recent.popitem(last=False)

    def _note(self, parser: PacketParser) -> None:
        if parser.refused:
            self.counts.update({str(reason): n for reason, n in parser.refused.items()})
            parser.refused.clear()

    def _answer(self, answers: Sequence[_Answer]) -> None:
        for writer, pairs in groupby(answers, itemgetter(0)):
            owed = [acknowledgement(packet) for _, packet in pairs if packet.wants_acknowledgement]
            if not owed or writer.is_closing():
                continue
            if writer.transport.get_write_buffer_size() > _UNREAD_MOST:
                self.counts[CUT_OFF] += 1
                writer.transport.abort()
                continue
            writer.write(b"".join(owed))

    async def _hang_up(self) -> None:
        for writer in self._writers:
            with contextlib.suppress(OSError, TimeoutError):
                await asyncio.wait_for(writer.drain(), 1.0)
                writer.close()
        self._writers.clear()


def _in_loop(loop: asyncio.AbstractEventLoop, act: Callable[[], None]) -> None:
    # Once the loop is closed there is nobody left to answer.
    with contextlib.suppress(RuntimeError):
        loop.call_soon_threadsafe(act)
