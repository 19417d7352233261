"""The application as a process of its own."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest

ROOT = Path(__file__).parents[2]


def environment(home: Path, **more: str) -> dict[str, str]:
    return {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(ROOT),
        "SIGHTLINE_HOME": str(home),
        "SIGHTLINE_S3_ENDPOINT": "127.0.0.1:9",
        "SIGHTLINE_S3_ACCESS_KEY": "key",
        "SIGHTLINE_S3_SECRET_KEY": "secret-secret",
        "SIGHTLINE_S3_SECURE": "false",
        **more,
    }


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def is_healthy(port: int, process: "subprocess.Popen[bytes]") -> bool:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline and process.poll() is None:
        try:
            return httpx.get(f"http://127.0.0.1:{port}/healthz", timeout=2).status_code == 200
        except httpx.TransportError:
            time.sleep(0.1)
    return False


def test_it_serves_and_ends_within_five_seconds_of_sigterm(tmp_path: Path, records: Path) -> None:
    (tmp_path / "catalog").mkdir()
    (tmp_path / "records.sqlite").write_bytes(records.read_bytes())
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "-m", "review"],
        cwd=ROOT,
        env=environment(tmp_path, SIGHTLINE_REVIEW_PORT=str(port)),
        stderr=subprocess.DEVNULL,
    )
    try:
        assert is_healthy(port, process)
        process.send_signal(signal.SIGTERM)
        began = time.monotonic()
        process.wait(10)
        assert time.monotonic() - began < 5
    finally:
        process.kill()
        process.wait()


@pytest.mark.parametrize(
    ("missing", "named"), [("SIGHTLINE_S3_ENDPOINT", "S3"), ("SIGHTLINE_CATALOG", "catalog")]
)
def test_it_says_what_is_not_set(tmp_path: Path, missing: str, named: str) -> None:
    told = environment(tmp_path)
    told.pop(missing, None)
    done = subprocess.run(
        [sys.executable, "-m", "review"],
        cwd=ROOT,
        env=told,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 1
    assert named in done.stderr
    assert "Traceback" not in done.stderr
