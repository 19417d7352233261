"""Facts about recording live cameras, against a real RTSP server on loopback."""

import os
import shutil
import socket
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from av.video.frame import VideoFrame

from enforcement.errors import ConfigurationError, FeedUnavailable
from enforcement.places import RtspSource
from feeds.rtsp import LivePacket, live_camera, redacted
from media.encoding import write_h264

SECRET = "s3cr:t@/pass"
ENVIRON = {"CAMERA_PASSWORD": SECRET}


def free_port() -> int:
    with socket.socket() as probe_socket:
        probe_socket.bind(("127.0.0.1", 0))
        return int(probe_socket.getsockname()[1])


def wait_for(port: int) -> None:
    until = time.monotonic() + 15
    while time.monotonic() < until:
        with socket.socket() as attempt:
            attempt.settimeout(0.5)
            if attempt.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise TimeoutError("the RTSP server did not start")


@contextmanager
def camera_on(folder: Path) -> Iterator[tuple[int, "subprocess.Popen[bytes]"]]:
    """A real RTSP server that plays the folder's files over TCP."""
    program = shutil.which("rtsp-server", path=os.path.dirname(sys.executable))
    assert program is not None, "aio-rtsp-toolkit is not installed"
    port, control = free_port(), free_port()
    command = [program, "-d", str(folder), "-H", "127.0.0.1", "-p", str(port), "-cp", str(control)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_for(port)
        yield port, process
    finally:
        process.kill()
        process.wait(10)


@pytest.fixture(scope="module")
def footage(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve seconds, 10 frames a second, a bar that wanders."""
    folder = tmp_path_factory.mktemp("camera")

    def pictures() -> Iterator[tuple[float, VideoFrame]]:
        for number in range(120):
            image = np.full((96, 128, 3), 60, np.uint8)
            image[:, number : number + 8] = 220
            yield number / 10, VideoFrame.from_ndarray(image, format="bgr24")

    write_h264(folder / "cam.mp4", pictures(), 10.0)
    return folder


@pytest.fixture(scope="module")
def port(footage: Path) -> Iterator[int]:
    with camera_on(footage) as (port, _):
        yield port


@contextmanager
def peer(answer: bytes | None) -> Iterator[int]:
    """A TCP peer that gives every request the same answer, or none at all."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(10)
        stop = threading.Event()

        def serve() -> None:
            try:
                connection, _ = server.accept()
            except OSError:
                return
            with connection:
                connection.settimeout(0.2)
                while not stop.is_set():
                    try:
                        request = connection.recv(4096)
                    except TimeoutError:
                        continue
                    except OSError:
                        return
                    if not request:
                        return
                    sequence = request.split(b"CSeq: ")[1].split(b"\r\n")[0]
                    if answer is not None:
                        connection.sendall(answer.replace(b"{cseq}", sequence))

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        try:
            yield server.getsockname()[1]
        finally:
            stop.set()
            thread.join(12)


def source(port: int, path: str = "cam.mp4", window_s: float = 2.0) -> RtspSource:
    url = f"rtsp://viewer:{{CAMERA_PASSWORD}}@127.0.0.1:{port}/{path}"
    return RtspSource(url=url, window_s=window_s, timeout_s=2.0)


def first_packet(what: RtspSource, environ: Mapping[str, str] = ENVIRON) -> LivePacket | None:
    with live_camera(what, environ=environ, clock=lambda: datetime.now(UTC)) as camera:
        return next(camera.packets(), None)


def refused(what: RtspSource) -> str:
    """Everything that a log could show of the refusal."""
    with pytest.raises(FeedUnavailable) as caught:
        first_packet(what)
    shown = "".join(traceback.format_exception(caught.value))
    for secret in (SECRET, "s3cr", "%3At", "viewer"):
        assert secret not in shown
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None
    return str(caught.value)


def test_a_camera_that_answers_sends_packets(port: int) -> None:
    packet = first_packet(source(port))
    assert packet is not None
    assert packet.packet.size > 0


def test_a_stream_that_is_not_there_is_said_so(port: int) -> None:
    assert "no such stream (404)" in refused(source(port, "nope.mp4"))


def test_a_port_where_nobody_listens_is_said_so() -> None:
    assert "refuses the connection" in refused(source(free_port()))


def test_refused_credentials_are_said_so() -> None:
    with peer(b"RTSP/1.0 401 Unauthorized\r\nCSeq: {cseq}\r\n\r\n") as port:
        assert "credentials (401)" in refused(source(port))


def test_a_camera_that_hangs_is_given_up_in_time() -> None:
    began = time.monotonic()
    with peer(None) as port:
        text = refused(source(port))
    assert "does not answer within 2 s" in text
    assert time.monotonic() - began < 8


def test_a_password_is_percent_encoded_and_a_missing_one_is_named() -> None:
    heard: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(10)

        def listen() -> None:
            connection, _ = server.accept()
            with connection:
                heard.append(connection.recv(4096))

        thread = threading.Thread(target=listen, daemon=True)
        thread.start()
        url = f"rtsp://127.0.0.1:{server.getsockname()[1]}/live/{{CAMERA_PASSWORD}}"
        what = RtspSource(url=url, window_s=1, timeout_s=2)
        with pytest.raises(FeedUnavailable) as caught:
            first_packet(what)
        thread.join(10)
    assert b"/live/s3cr%3At%40%2Fpass" in heard[0]
    assert "{CAMERA_PASSWORD}" in str(caught.value)
    with pytest.raises(ConfigurationError, match="CAMERA_PASSWORD"):
        first_packet(what, {})


def test_only_rtsp_addresses_are_opened() -> None:
    for url in ("file:///etc/hostname", "http://127.0.0.1/x", "/etc/hostname"):
        with pytest.raises(ConfigurationError, match="no RTSP address"):
            first_packet(RtspSource(url=url))


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("rtsp://u:p%40ss@cam/1", "rtsp://***@cam/1"),
        ("rtsp://u:p@ss@cam/1", "rtsp://***@cam/1"),
        ("rtsp://cam/live?user=a&password=hush", "rtsp://cam/live"),
        ("rtsp://cam/user=a_password=hush_channel=1", "rtsp://cam/user=a_password=***"),
        ("rtsp://cam/{TOKEN}/1", "rtsp://cam/{TOKEN}/1"),
    ],
)
def test_an_address_is_shown_without_its_secrets(url: str, shown: str) -> None:
    assert redacted(url) == shown
