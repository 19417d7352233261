r"""A real RTSP server for tests: a live camera that can be killed, hung and given a new password.

It plays one H.264 file in a loop at real time to everybody who asks, over TCP, as a camera does:
who connects joins in the middle, frames that nobody could be sent are lost, a slow reader is
thrown out. Every frame carries its number and the camera's own time in an SEI message, so that a
recording can be compared with what was sent. Runs as a process of its own:

    PEER_PASSWORD=old python -m tests.feeds.rtsp_peer clip.mp4 --port 8554 --user viewer \
        --log sent.jsonl

Commands come as JSON lines on standard input: ``{"password": "new"}`` (all sessions end),
``{"garble": 0.2}`` (that share of RTP packets gets noise for a payload), ``{"mute": "yes"}``
(frames are no longer sent; again with ``"no"`` or ``"until key"``), ``{"clock_offset_s": 3.0}``,
``{"jump_s": 900}`` (the RTP time stamps leap, the camera's clock doesn't).
"""

import argparse
import asyncio
import base64
import contextlib
import hashlib
import json
import os
import random
import re
import secrets
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Self

import av
import numpy as np

from media.encoding import write_h264

_MARK = b"sightline-tests:"
"""Sixteen bytes where an SEI message of unregistered user data has its UUID."""
_STAMP = re.compile(re.escape(_MARK) + rb"(\d{12})@(\d{16})")
_PAYLOAD_BYTES = 1400
_CLOCK_HZ = 90_000
_NTP_EPOCH_S = 2_208_988_800
_UNSENT_LIMIT_BYTES = 4 << 20
_REALM = "camera"


@dataclass(frozen=True)
class Sent:
    """One line of the log: a frame that became due."""

    path: str
    number: int
    at_s: float
    """Wall-clock time, seconds."""
    is_key: bool
    sessions: int
    """How many were sent it."""


@dataclass(frozen=True)
class _Coded:
    is_key: bool
    nals: tuple[bytes, ...]


def read_marks(data: bytes) -> list[tuple[int, float]]:
    """Number and camera time (seconds) of every frame in recorded bytes, in order."""
    return [(int(found[1]), int(found[2]) / 1e6) for found in _STAMP.finditer(data)]


def write_clip(
    target: Path, *, width: int, height: int, fps: int, seconds: int, gop: int, crf: int = 33
) -> None:
    """A clip with a wandering bar over fine noise, so that it has a camera's bit rate."""
    from av.video.frame import VideoFrame

    chance = np.random.default_rng(7)
    ground = chance.integers(40, 90, (height // 4, width // 4, 1), np.uint8)
    ground = np.repeat(np.repeat(np.repeat(ground, 4, 0), 4, 1), 3, 2)

    def pictures() -> Iterator[tuple[float, VideoFrame]]:
        for number in range(fps * seconds):
            image = ground.copy()
            left = number * 3 % (width - width // 8)
            image[:, left : left + width // 8] = 220
            grain = chance.integers(0, 14, (height // 2, width // 2, 1), np.uint8)
            image += np.repeat(np.repeat(grain, 2, 0), 2, 1)
            yield number / fps, VideoFrame.from_ndarray(image, format="bgr24")

    write_h264(target, pictures(), float(fps), preset="ultrafast", crf=crf, keyframe_every=gop)


class Peer:
    """The server as a process, seen from a test."""

    def __init__(self, clip: Path, log: Path, *arguments: str, password: str) -> None:
        self.log, self.password, self._clip, self._arguments = log, password, clip, arguments
        self.port = _free_port()
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process is not None:
            self.kill()

    def start(self) -> None:
        """Start it, on the same port as before; returns once it accepts connections."""
        command = [
            sys.executable, "-m", "tests.feeds.rtsp_peer", str(self._clip),
            "--port", str(self.port), "--log", str(self.log), *self._arguments,
        ]  # fmt: skip
        environ = os.environ | {"PEER_PASSWORD": self.password}
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, env=environ)
        until = time.monotonic() + 20
        while time.monotonic() < until:
            with socket.socket() as attempt:
                attempt.settimeout(0.5)
                if attempt.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            time.sleep(0.02)
        raise TimeoutError("the RTSP peer did not start")

    def kill(self) -> None:
        """SIGKILL."""
        process = self._running()
        process.kill()
        process.wait(10)
        if process.stdin is not None:
            process.stdin.close()
        self._process = None

    def hang(self) -> None:
        """SIGSTOP: connections stay, nothing is answered."""
        self._running().send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """SIGCONT."""
        self._running().send_signal(signal.SIGCONT)

    def tell(self, **command: object) -> None:
        """Send one command, see the module's text."""
        pipe = self._running().stdin
        assert pipe is not None
        pipe.write(json.dumps(command).encode() + b"\n")
        pipe.flush()
        if "password" in command:
            self.password = str(command["password"])

    @property
    def cpu_s(self) -> float:
        """CPU time that the process has used so far."""
        import psutil

        times = psutil.Process(self._running().pid).cpu_times()
        return float(times.user + times.system)

    def sent(self, path: str | None = None) -> list[Sent]:
        """All frames that became due so far, over all its lives."""
        lines = (json.loads(line) for line in self.log.read_text().splitlines())
        frames = [Sent(**line) for line in lines if "number" in line]
        return [frame for frame in frames if path is None or frame.path == path]

    def refusals(self) -> list[float]:
        """Moments at which somebody came with a wrong name or password."""
        lines = (json.loads(line) for line in self.log.read_text().splitlines())
        return [line["refused_at_s"] for line in lines if "refused_at_s" in line]

    def _running(self) -> "subprocess.Popen[bytes]":
        assert self._process is not None, "the peer is not running"
        return self._process


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _coded_frames(clip: Path) -> tuple[list[_Coded], Fraction, bytes, bytes]:
    """All frames as NAL units, frames a second, SPS and PPS."""
    with av.open(str(clip)) as container:
        stream = container.streams.video[0]
        extra = stream.codec_context.extradata or b""
        rate = stream.average_rate or Fraction(25)
        frames = [
            _Coded(packet.is_keyframe, tuple(_nals(bytes(packet))))
            for packet in container.demux(stream)
            if packet.size
        ]
    length = struct.unpack(">H", extra[6:8])[0]
    sps = extra[8 : 8 + length]
    pps = extra[8 + length + 3 :][: struct.unpack(">H", extra[9 + length : 11 + length])[0]]
    return frames, Fraction(rate), sps, pps


def _nals(data: bytes) -> Iterator[bytes]:
    at = 0
    while at + 4 <= len(data):
        size = int.from_bytes(data[at : at + 4], "big")
        yield data[at + 4 : at + 4 + size]
        at += 4 + size


@dataclass(eq=False)
class _Session:
    """One reader. Sequence numbers are its own, as a camera keeps them."""

    writer: asyncio.StreamWriter
    path: str = ""
    channel: int = 0
    ssrc: int = field(default_factory=lambda: secrets.randbits(32))
    sequence: int = field(default_factory=lambda: secrets.randbits(15))
    base: int = field(default_factory=lambda: secrets.randbits(32))
    playing: bool = False
    packets: int = 0
    octets: int = 0
    reported_at: float | None = None

    def write(self, data: bytes) -> None:
        transport = self.writer.transport
        if transport.is_closing():
            self.playing = False
        elif transport.get_write_buffer_size() > _UNSENT_LIMIT_BYTES:
            transport.abort()
        else:
            self.writer.write(data)


class _Camera:
    """The server: one live picture per path, all of the same clip, each with its own phase."""

    def __init__(self, options: argparse.Namespace) -> None:
        self._options = options
        self._frames, rate, self._sps, self._pps = _coded_frames(options.clip)
        self._fps = float(rate)
        self._password = os.environ.get("PEER_PASSWORD", "")
        self._offset_s: float = options.clock_offset_s
        self._garble, self._mute = 0.0, "no"
        self._nonce = secrets.token_hex(8)
        self._sessions: set[_Session] = set()
        self._paths: dict[str, asyncio.Task[None]] = {}
        self._log = options.log.open("a", buffering=1)

    async def serve(self) -> None:
        server = await asyncio.start_server(self._talk, "127.0.0.1", self._options.port, backlog=64)
        commands = asyncio.create_task(self._obey())
        async with server:
            await server.serve_forever()
        commands.cancel()

    async def _obey(self) -> None:
        reader = asyncio.StreamReader()
        await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), sys.stdin
        )
        while line := await reader.readline():
            command = json.loads(line)
            self._garble = command.get("garble", self._garble)
            self._mute = command.get("mute", self._mute)
            self._offset_s = command.get("clock_offset_s", self._offset_s)
            for session in self._sessions:
                session.base += round(command.get("jump_s", 0) * _CLOCK_HZ)
            if "password" in command:
                self._password = command["password"]
                for session in list(self._sessions):
                    session.writer.transport.abort()
        os._exit(0)  # The test is gone.

    def _note(self, **line: object) -> None:
        self._log.write(json.dumps(line) + "\n")

    def _camera_time(self, at_s: float) -> float:
        return at_s + self._offset_s

    async def _play(self, path: str) -> None:
        """Live picture of one path: frame n is due at n / fps, whether or not anybody looks."""
        phase = int(hashlib.sha256(path.encode()).hexdigest()[:4], 16) / 65536 / self._fps
        number = int(time.time() * self._fps)
        while True:
            number = max(number + 1, int((time.time() - phase) * self._fps))
            due = number / self._fps + phase
            await asyncio.sleep(max(0.0, due - time.time()))
            frame = self._frames[number % len(self._frames)]
            readers = [one for one in self._sessions if one.playing and one.path == path]
            if self._mute == "until key" and frame.is_key:
                self._mute = "no"
            readers = readers if self._mute == "no" else []
            for session in readers:
                self._send(session, number, due, frame)
            self._note(
                path=path, number=number, at_s=time.time(), is_key=frame.is_key,
                sessions=len(readers),
            )  # fmt: skip

    def _send(self, session: _Session, number: int, due: float, frame: _Coded) -> None:
        ticks = session.base + round(due * _CLOCK_HZ)
        every_s = self._options.report_every_s
        if session.reported_at is None:
            session.reported_at = due - every_s + self._options.first_report_s
        report = b""
        if every_s and due - session.reported_at >= every_s:
            session.reported_at = due
            report = self._report(session, ticks, due)
        mark = _MARK + b"%012d@%016d" % (number, round(self._camera_time(due) * 1e6))
        sei = b"\x06\x05" + bytes([len(mark)]) + mark + b"\x80"
        parameters = (self._sps, self._pps) if frame.is_key else ()
        rest = tuple(nal for nal in frame.nals if nal[0] & 31 in (1, 5))
        payloads = [part for nal in (*parameters, sei, *rest) for part in _fragments(nal)]
        out = [report]
        if self._garble:
            payloads = [
                random.randbytes(len(one)) if random.random() < self._garble else one
                for one in payloads
            ]
        for index, payload in enumerate(payloads):
            last = index == len(payloads) - 1
            header = struct.pack(
                ">BBHII", 0x80, 96 | (last << 7), session.sequence & 0xFFFF,
                ticks & 0xFFFFFFFF, session.ssrc,
            )  # fmt: skip
            session.sequence += 1
            session.packets += 1
            session.octets += len(payload)
            out.append(_interleaved(session.channel, header + payload))
        session.write(b"".join(out))

    def _report(self, session: _Session, ticks: int, due: float) -> bytes:
        ntp = round((self._camera_time(due) + _NTP_EPOCH_S) * (1 << 32))
        body = struct.pack(
            ">BBHIQIII", 0x80, 200, 6, session.ssrc, ntp & ((1 << 64) - 1), ticks & 0xFFFFFFFF,
            session.packets & 0xFFFFFFFF, session.octets & 0xFFFFFFFF,
        )  # fmt: skip
        return _interleaved(session.channel + 1, body)

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        session = _Session(writer)
        self._sessions.add(session)
        try:
            while True:
                first = await reader.readexactly(1)
                if first == b"$":
                    head = await reader.readexactly(3)
                    await reader.readexactly(int.from_bytes(head[1:], "big"))
                    continue
                request = first + await reader.readuntil(b"\r\n\r\n")
                self._answer(session, request.decode("utf-8", "replace"))
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            return
        finally:
            session.playing = False
            self._sessions.discard(session)
            writer.close()

    def _answer(self, session: _Session, request: str) -> None:
        method, url = request.split(" ", 2)[:2]
        headers = {
            name.strip().lower(): value.strip()
            for name, _, value in (line.partition(":") for line in request.split("\r\n")[1:])
        }
        status, lines, body = self._reply(session, method, url, headers)
        head = [f"RTSP/1.0 {status}", f"CSeq: {headers.get('cseq', '0')}", *lines]
        if body:
            head += ["Content-Type: application/sdp", f"Content-Length: {len(body)}"]
        session.write(("\r\n".join(head) + "\r\n\r\n" + body).encode())
        if method == "PLAY" and status.startswith("200"):
            session.playing = True

    def _reply(
        self, session: _Session, method: str, url: str, headers: dict[str, str]
    ) -> tuple[str, list[str], str]:
        if method == "OPTIONS":
            return "200 OK", ["Public: OPTIONS, DESCRIBE, SETUP, PLAY, TEARDOWN, GET_PARAMETER"], ""
        if not self._is_allowed(method, headers.get("authorization", "")):
            return "401 Unauthorized", [self._challenge()], ""
        if method == "DESCRIBE":
            return "200 OK", [f"Content-Base: {url}/"], self._description()
        if method == "SETUP":
            found = re.search(r"interleaved=(\d+)", headers.get("transport", ""))
            if found is None:
                return "461 Unsupported Transport", [], ""
            session.channel = int(found[1])
            transport = f"Transport: RTP/AVP/TCP;unicast;interleaved={found[1]}-{int(found[1]) + 1}"
            return "200 OK", [transport, "Session: 1234;timeout=60"], ""
        if method == "PLAY":
            session.path = "/" + url.split("://")[-1].partition("/")[2].strip("/")
            if session.path not in self._paths:
                self._paths[session.path] = asyncio.create_task(self._play(session.path))
            return "200 OK", ["Session: 1234", "Range: npt=now-"], ""
        if method == "TEARDOWN":
            session.playing = False
        return "200 OK", ["Session: 1234"], ""

    def _description(self) -> str:
        parameters = ",".join(base64.b64encode(one).decode() for one in (self._sps, self._pps))
        return "\r\n".join([
            "v=0", "o=- 1 1 IN IP4 127.0.0.1", "s=camera", "t=0 0", "a=control:*",
            "m=video 0 RTP/AVP 96", "a=rtpmap:96 H264/90000",
            f"a=fmtp:96 packetization-mode=1;sprop-parameter-sets={parameters}",
            "a=control:track1", "",
        ])  # fmt: skip

    def _challenge(self) -> str:
        if self._options.basic:
            return f'WWW-Authenticate: Basic realm="{_REALM}"'
        return f'WWW-Authenticate: Digest realm="{_REALM}", nonce="{self._nonce}"'

    def _is_allowed(self, method: str, given: str) -> bool:
        user = self._options.user
        if not user:
            return True
        if not given:
            return False
        if self._options.basic:
            expected = base64.b64encode(f"{user}:{self._password}".encode()).decode()
            right = given == f"Basic {expected}"
        else:
            parts = dict(re.findall(r'(\w+)="([^"]*)"', given))
            inner = _md5(f"{user}:{_REALM}:{self._password}")
            outer = _md5(f"{method}:{parts.get('uri', '')}")
            right = parts.get("response") == _md5(f"{inner}:{self._nonce}:{outer}")
        if not right:
            self._note(refused_at_s=time.time())
        return right


def _md5(text: str) -> str:
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()


def _interleaved(channel: int, data: bytes) -> bytes:
    return struct.pack(">cBH", b"$", channel, len(data)) + data


def _fragments(nal: bytes) -> Iterator[bytes]:
    """RFC 6184: whole if it fits, else as FU-A."""
    if len(nal) <= _PAYLOAD_BYTES:
        yield nal
        return
    kind, at = nal[0], 1
    while at < len(nal):
        part = nal[at : at + _PAYLOAD_BYTES]
        start, end = at == 1, at + len(part) >= len(nal)
        yield bytes([kind & 0x60 | 28, start << 7 | end << 6 | kind & 31]) + part
        at += len(part)


def main() -> None:
    """Serve until killed or until standard input ends."""
    arguments = argparse.ArgumentParser()
    arguments.add_argument("clip", type=Path)
    arguments.add_argument("--port", type=int, required=True)
    arguments.add_argument("--log", type=Path, required=True)
    arguments.add_argument("--user", default="")
    arguments.add_argument("--basic", action="store_true", help="Basic instead of Digest")
    arguments.add_argument("--clock-offset-s", type=float, default=0.0)
    arguments.add_argument("--first-report-s", type=float, default=0.0)
    arguments.add_argument("--report-every-s", type=float, default=5.0, help="0: no RTCP at all")
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_Camera(arguments.parse_args()).serve())


if __name__ == "__main__":
    main()
