"""How many HJ 212 packets a second one core parses, beside a straightforward parser.

    .venv/bin/python -m tests.endurance.hj212_rate --packets 60000

``parsed``: out of a stream in pieces of 64 KiB, to the last value. ``acknowledged``: over TCP from
one station, collected into batches and acknowledged; what keeps the batches does nothing here. The
reference is what one writes from the standard's text: byte by byte, bit by bit. CPU time.
"""

import argparse
import asyncio
import socket
import sys
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime

from enforcement.places import Hj212Source
from feeds.hj212 import PacketParser, framed
from feeds.hj212_listener import Hj212Listener
from tests.feeds.mqtt_broker import free_port, wait_for_port

PIECE = 65536
STATION = "010000A8900016F000169DC0"
_HEADER = "ST={st};CN={cn};PW=123456;MN=" + STATION + ";Flag=5;"


def main() -> int:
    """Print packets a second of both, and the ratios."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--packets", type=int, default=60_000)
    options = arguments.parse_args()
    packets = [_packet(number) for number in range(options.packets)]
    print(f"{len(packets)} packets, {sum(map(len, packets)) / len(packets):.0f} bytes on average")
    for what, ours, reference in (
        ("parsed", _parse, _reference_parse),
        ("acknowledged", _collect, _reference_serve),
    ):
        rate, reference_rate = ours(packets), reference(packets[: len(packets) // 4])
        print(
            f"{what}: {rate:.0f} packets/s, reference {reference_rate:.0f} packets/s,"
            f" ratio {rate / reference_rate:.1f}"
        )
    return 0


def _packet(number: int) -> bytes:
    """Data of a minute, an hour, or a request, in turns."""
    head = f"QN=20260801{number:09};" + _HEADER
    if number % 3 == 0:
        text = head.format(st=32, cn=1062) + "CP=&&RtdInterval=30&&"
    else:
        factors = ";".join(
            f"a3400{code}-Avg={number % 977 / 7:.4f},a3400{code}-Flag=N"
            for code in range(4 if number % 3 == 1 else 6)
        )
        text = head.format(st=22, cn=2061) + f"CP=&&DataTime=20260801000000;{factors}&&"
    return framed(text.encode())


def _rate(act: Callable[[], int], expected: int) -> float:
    """Packets a CPU second of this thread."""
    began = time.thread_time()
    done = act()
    spent_s = time.thread_time() - began
    if done != expected:
        raise RuntimeError(f"{done} of {expected} packets")
    return done / spent_s


def _parse(packets: list[bytes]) -> float:
    stream = b"".join(packets)

    def act() -> int:
        parser, done = PacketParser(), 0
        for start in range(0, len(stream), PIECE):
            for packet in parser.feed(stream[start : start + PIECE]):
                done += bool(packet.factors or packet.parameters)
        return done

    return _rate(act, len(packets))


def _reference_parse(packets: list[bytes]) -> float:
    stream = b"".join(packets)

    def act() -> int:
        place = done = 0
        while place < len(stream):
            size = int(stream[place + 2 : place + 6])
            done += _reference_packet(stream[place : place + size + 12]) is not None
            place += size + 12
        return done

    return _rate(act, len(packets))


def _reference_packet(packet: bytes) -> dict[str, str] | None:
    data = packet[6:-6]
    crc = 0xFFFF
    for byte in data:
        crc = (crc >> 8) ^ byte
        for _ in range(8):
            out = crc & 1
            crc >>= 1
            if out:
                crc ^= 0xA001
    if int(packet[-6:-2], 16) != crc:
        return None
    header, content = data.decode("gbk").split("CP=&&")
    found: dict[str, str] = {}
    for group in (header + content.removesuffix("&&")).split(";"):
        for pair in group.split(","):
            if pair:
                key, value = pair.split("=")
                found[key] = value
    return found


def _collect(packets: list[bytes]) -> float:
    port = free_port()
    source = Hj212Source.model_validate({"port": port, "stations": [{"mn": STATION}]})
    listener = Hj212Listener(
        "rate", source, lambda *_: None, environ={}, clock=lambda: datetime.now(UTC)
    )
    stop = threading.Event()
    thread = threading.Thread(target=listener.run, args=(stop,))
    thread.start()
    try:
        return _served(port, packets)
    finally:
        stop.set()
        thread.join(30)


def _reference_serve(packets: list[bytes]) -> float:
    port = free_port()
    stop = threading.Event()

    async def station(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while head := await reader.read(2):
            size = await reader.readexactly(4)
            rest = await reader.readexactly(int(size) + 6)
            fields = _reference_packet(head + size + rest)
            if fields is not None:
                writer.write(framed(f"QN={fields['QN']};ST=91;CN=9014;PW=123456;MN="
                                    f"{fields['MN']};Flag=4;CP=&&&&".encode()))  # fmt: skip
                await writer.drain()
        writer.close()

    async def serve() -> None:
        async with await asyncio.start_server(station, "127.0.0.1", port):
            while not stop.is_set():
                await asyncio.sleep(0.1)

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    try:
        return _served(port, packets)
    finally:
        time.sleep(0.3)  # until it has noticed that the station is gone
        stop.set()
        thread.join(30)


def _served(port: int, packets: list[bytes]) -> float:
    """Send everything as fast as it is taken and count the answers; packets a CPU second of this
    process, the station's own share taken off."""
    wait_for_port(port)
    spent: list[float] = []
    with socket.create_connection(("127.0.0.1", port)) as connection:

        def send() -> None:
            began = time.thread_time()
            connection.sendall(b"".join(packets))
            spent.append(time.thread_time() - began)

        began, own = time.process_time(), time.thread_time()
        sending = threading.Thread(target=send)
        sending.start()
        answers, last = 0, b""
        while answers < len(packets):
            data = last + connection.recv(PIECE)
            answers += data.count(b"\r\n")
            last = b"\r" if data.endswith(b"\r") else b""
        sending.join()
        own = time.thread_time() - own + sum(spent)
        return len(packets) / (time.process_time() - began - own)


if __name__ == "__main__":
    sys.exit(main())
