"""``sightline up`` with its real parts: S3 server, Airflow and review application."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from pipelines.orchestrator import password

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

_READY_WITHIN_S = 180


def free_ports() -> dict[str, str]:
    """A block of ports that nobody uses, as the variables that set them."""
    for base in range(20_000 + os.getpid() % 2_000, 30_000, 10):
        wanted = [base, base + 1, base + 2, *range(base + 3, base + 8)]
        try:
            for port in (*wanted, *(port + 10_000 for port in wanted[3:])):
                with socket.socket() as probe:
                    probe.bind(("127.0.0.1", port))
        except OSError:
            continue
        names = ("REVIEW_PORT", "AIRFLOW_PORT", "RECEIVER_PORT", "S3_PORT")
        return {
            f"SIGHTLINE_{name}": str(port) for name, port in zip(names, wanted[:4], strict=True)
        }
    raise AssertionError("no free ports")


def of_home(home: Path) -> list[psutil.Process]:
    """All processes whose environment names this home, except this one."""
    found = []
    for process in psutil.process_iter():
        try:
            named = any(str(home) in value for value in process.environ().values())
            if named and process.status() != psutil.STATUS_ZOMBIE and process.pid != os.getpid():
                found.append(process)
        except psutil.Error:
            continue
    return found


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    home = tmp_path / "home"
    yield home
    for process in of_home(home):
        process.kill()


def start(home: Path, environment: dict[str, str]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "pipelines.cli", "up"],
        env=os.environ | environment | {"SIGHTLINE_HOME": str(home), "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def read_until_ready(system: subprocess.Popen[str]) -> str:
    assert system.stdout is not None
    lines = []
    deadline = time.monotonic() + _READY_WITHIN_S
    for line in system.stdout:
        lines.append(line)
        if line.startswith("READY"):
            return line
        assert time.monotonic() < deadline, "".join(lines)
    raise AssertionError("".join(lines))


def listeners(processes: list[psutil.Process]) -> set[tuple[str, int]]:
    found = set()
    for process in processes:
        for connection in process.net_connections("inet"):
            if connection.status == psutil.CONN_LISTEN:
                found.add((connection.laddr.ip, connection.laddr.port))
    return found


def dag_runs(base: str, word: str) -> dict[str, set[str]]:
    """The states of the runs of each DAG, as Airflow's API tells them."""
    ask = urllib.request.Request(
        f"{base}/auth/token",
        json.dumps({"username": "admin", "password": word}).encode(),
        {"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(ask, timeout=20) as answer:
        token = json.load(answer)["access_token"]
    ask = urllib.request.Request(
        f"{base}/api/v2/dags/~/dagRuns", headers={"Authorization": f"Bearer {token}"}
    )
    with urllib.request.urlopen(ask, timeout=20) as answer:
        runs = json.load(answer)["dag_runs"]
    states: dict[str, set[str]] = {}
    for run in runs:
        states.setdefault(run["dag_id"], set()).add(run["state"])
    return states


def kill_store_and_wait_for_the_next(home: Path, port: int) -> None:
    [store] = [process for process in of_home(home) if process.name() == "weed"]
    store.kill()
    deadline = time.monotonic() + 40
    while time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=2):
                return
        except OSError:
            time.sleep(0.2)
    raise AssertionError("the S3 server was not started again")


def test_the_system_comes_up_on_loopback_runs_its_dags_and_leaves_nothing(home: Path) -> None:
    ports = free_ports()
    system = start(home, ports)
    try:
        ready = read_until_ready(system)
        assert ports["SIGHTLINE_REVIEW_PORT"] in ready
        running = of_home(home)
        assert len(running) > 8
        heard = listeners(running)
        assert {ip for ip, _ in heard} == {"127.0.0.1"}
        assert {int(port) for name, port in ports.items() if "RECEIVER" not in name} <= {
            port for _, port in heard
        }
        base = f"http://127.0.0.1:{ports['SIGHTLINE_AIRFLOW_PORT']}"
        deadline = time.monotonic() + 90
        wanted = {"pull_footage", "raise_leads", "dispatch_cases"}
        while not wanted <= {
            d for d, s in dag_runs(base, password(home)).items() if "success" in s
        }:
            assert time.monotonic() < deadline, dag_runs(base, password(home))
            time.sleep(1)
        assert not any("failed" in states for states in dag_runs(base, password(home)).values())
        kill_store_and_wait_for_the_next(home, int(ports["SIGHTLINE_S3_PORT"]))
        began = time.monotonic()
        system.send_signal(signal.SIGINT)
        assert system.wait(20) == 0
        assert time.monotonic() - began < 15
        assert of_home(home) == []
    finally:
        system.kill()
        system.communicate()
