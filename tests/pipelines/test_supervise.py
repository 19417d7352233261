"""The supervisor, with cheap programs as its parts; test_up.py has the real ones."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
from pydantic import SecretStr

from enforcement.errors import ConfigurationError
from pipelines import supervise
from pipelines.parts import services
from pipelines.processes import Child, Ledger, Service, end, members, sole_process
from pipelines.supervise import Supervisor, require_free_ports, run
from settings.environment import Settings

SLEEP = "import time; time.sleep(60)"
STUBBORN = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(60)"


class House:
    """One home with a supervisor that runs in a thread of the test."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.lines: list[str] = []
        self.ledger = Ledger(home / "run" / "processes.json")
        self.supervisor = Supervisor(self.ledger, self.lines.append)
        self.exit_code: int | None = None
        self.children: dict[str, Child] = {}

    def child(
        self, name: str, program: str, probe: Callable[[], bool] = lambda: True, ready_s: float = 20
    ) -> Child:
        service = Service(
            name=name,
            argv=(sys.executable, "-c", program),
            environment=dict(os.environ),
            probe=probe,
            ready_within_s=ready_s,
        )
        self.children[name] = Child(service, self.ledger, self.home / "logs")
        return self.children[name]

    @contextmanager
    def running(self, *parts: Child) -> Iterator[None]:
        def work() -> None:
            self.exit_code = self.supervisor.run((), lambda: ["a note"], lambda: parts, "urls")

        thread = threading.Thread(target=work)
        thread.start()
        try:
            yield
        finally:
            self.supervisor.stop()
            thread.join(20)
            assert not thread.is_alive()

    def left(self) -> list[psutil.Process]:
        return members(self.ledger.token)


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    house = House(tmp_path)
    yield house
    end(house.left, 0.0)


def wait_for(what: Callable[[], object], within_s: float = 15.0) -> None:
    deadline = time.monotonic() + within_s
    while not what():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.02)


def test_stopping_ends_every_process_also_those_that_left_their_group(house: House) -> None:
    """A grandchild in a session of its own whose parent is gone is found all the same."""
    runaway = (
        "import subprocess, sys, time\n"
        f"subprocess.Popen([sys.executable, '-c', {SLEEP!r}], start_new_session=True)\n"
        "time.sleep(60)"
    )
    with house.running(house.child("runaway", runaway), house.child("plain", SLEEP)):
        wait_for(lambda: len(house.left()) == 3)
    assert house.left() == []
    assert house.exit_code == 0


def test_a_process_that_ignores_the_request_to_end_is_killed_in_time(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervise, "_GRACE_S", 0.5)
    with house.running(house.child("stubborn", STUBBORN)):
        wait_for(lambda: house.left() and any(x.startswith("READY") for x in house.lines))
        time.sleep(0.5)  # until it ignores the signal
        began = time.monotonic()
    assert house.left() == []
    assert time.monotonic() - began < 5


def test_ready_is_said_when_all_parts_serve_and_not_before(house: House) -> None:
    flag = house.home / "serves"
    with house.running(house.child("quick", SLEEP), house.child("slow", SLEEP, probe=flag.exists)):
        wait_for(lambda: any("quick is up" in line for line in house.lines))
        assert not any(line.startswith("READY") for line in house.lines)
        flag.touch()
        wait_for(lambda: "  a note" in house.lines)
    assert next(line for line in house.lines if line.startswith("READY")).endswith("urls")


def test_a_part_that_does_not_come_up_ends_the_start_with_its_last_words(house: House) -> None:
    with house.running(
        house.child("fine", SLEEP), house.child("broken", "raise SystemExit('no such camera')")
    ):
        wait_for(lambda: house.exit_code is not None)
    assert house.exit_code == 1
    assert "no such camera" in "\n".join(house.lines)
    assert house.left() == []


def test_a_part_that_dies_is_started_again(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervise, "_BACKOFF_LONGEST_S", 0.1)
    with house.running(house.child("mortal", SLEEP)):
        wait_for(lambda: any(x.startswith("READY") for x in house.lines))
        [first] = house.left()
        first.kill()
        wait_for(lambda: [p.pid for p in house.left()] not in ([], [first.pid]))
    assert any("mortal ended" in line for line in house.lines)


def test_a_part_that_runs_but_does_not_answer_is_started_again(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("_BACKOFF_LONGEST_S", "_PROBE_EVERY_S", "_SILENT_LONGEST_S"):
        monkeypatch.setattr(supervise, name, 0.2)
    flag = house.home / "answers"
    flag.touch()
    with house.running(house.child("mute", SLEEP, probe=flag.exists)):
        wait_for(lambda: any(x.startswith("READY") for x in house.lines))
        [first] = house.left()
        flag.unlink()
        wait_for(lambda: [p.pid for p in house.left()] not in ([], [first.pid]))
        flag.touch()
    assert any("does not answer" in line for line in house.lines)


def test_a_part_that_keeps_dying_ends_the_system_loudly(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervise, "_BACKOFF_LONGEST_S", 0.1)
    monkeypatch.setattr(supervise, "_LOOK_EVERY_S", 0.1)
    dying = "import time; time.sleep(0.4); raise SystemExit('out of memory')"
    with house.running(house.child("fine", SLEEP), house.child("dying", dying)):
        wait_for(lambda: house.exit_code is not None, 40)
    assert house.exit_code == 1
    assert sum("dying ended" in line for line in house.lines) == 4
    assert "dying does not stay up" in house.lines[-3]
    assert "out of memory" in house.lines[-3]
    assert house.left() == []


def test_what_a_killed_supervisor_left_running_is_ended_by_the_next(tmp_path: Path) -> None:
    ledger = tmp_path / "processes.json"
    program = (
        "import os, sys, signal\n"
        "from pathlib import Path\n"
        "from pipelines.processes import Child, Ledger, Service\n"
        f"ledger = Ledger(Path({str(ledger)!r}))\n"
        f"argv = (sys.executable, '-c', {SLEEP!r})\n"
        "orphan = Service('orphan', argv, dict(os.environ))\n"
        f"Child(orphan, ledger, Path({str(tmp_path)!r})).start()\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    subprocess.run([sys.executable, "-c", program], check=False, timeout=30)
    [entry] = json.loads(ledger.read_text())["processes"]
    assert psutil.Process(entry["pid"]).is_running()
    assert Ledger(ledger).end_orphans() == 1
    assert not psutil.pid_exists(entry["pid"]) or (
        psutil.Process(entry["pid"]).status() == psutil.STATUS_ZOMBIE
    )
    assert Ledger(ledger).end_orphans() == 0


def test_a_stranger_who_got_an_old_process_id_is_left_alone(tmp_path: Path) -> None:
    stranger = subprocess.Popen([sys.executable, "-c", SLEEP])
    try:
        created = psutil.Process(stranger.pid).create_time() - 100
        entry = {"name": "s3", "pid": stranger.pid, "pgid": stranger.pid, "created": created}
        path = tmp_path / "processes.json"
        path.write_text(json.dumps({"token": "of an earlier run", "processes": [entry]}))
        assert Ledger(path).end_orphans() == 0
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


def test_two_processes_cannot_hold_one_lock(tmp_path: Path) -> None:
    lock = tmp_path / "run" / "up.lock"
    with (
        sole_process(lock, "another one runs here"),
        pytest.raises(ConfigurationError, match="another one runs here"),
        sole_process(lock, "another one runs here"),
    ):
        pass
    with sole_process(lock, "another one runs here"):
        pass


def test_two_supervisors_cannot_share_a_home(tmp_path: Path) -> None:
    with (
        sole_process(tmp_path / "run" / "up.lock", "…"),
        pytest.raises(ConfigurationError, match="another `sightline up` runs on"),
    ):
        run(Settings(home=tmp_path), echo=print, prepare=list)


def test_a_taken_port_is_named_with_its_variable_before_anything_starts(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        settings = Settings(home=tmp_path, review_port=port)
        with pytest.raises(ConfigurationError, match=f"{port}.*SIGHTLINE_REVIEW_PORT"):
            supervise.run(settings, echo=lambda line: None, prepare=lambda: pytest.fail("started"))
    assert not (tmp_path / "logs").exists()
    assert not (tmp_path / "run" / "processes.json").exists()


def test_two_settings_cannot_want_one_port() -> None:
    with pytest.raises(ConfigurationError, match="both want port 9"):
        require_free_ports([(9001, "SIGHTLINE_A"), (9001, "SIGHTLINE_B")])


def test_each_process_gets_its_own_database_role_only(tmp_path: Path) -> None:
    settings = Settings(
        home=tmp_path,
        records_url=SecretStr("postgresql+psycopg://pipeline@db/sightline"),
        review_records_url=SecretStr("postgresql+psycopg://review@db/sightline"),
        admin_records_url=SecretStr("postgresql+psycopg://owner@db/sightline"),
        s3_endpoint="127.0.0.1:9000",
        s3_access_key="key",
        s3_secret_key=SecretStr("secret"),
    )
    seen = {part.name: part.environment for part in services(settings, [("peer", ["true"])])}
    assert seen["airflow"]["SIGHTLINE_RECORDS_URL"].count("pipeline@") == 1
    assert "SIGHTLINE_REVIEW_RECORDS_URL" not in seen["airflow"]
    assert seen["review"]["SIGHTLINE_REVIEW_RECORDS_URL"].count("review@") == 1
    assert "SIGHTLINE_RECORDS_URL" not in seen["review"]
    for environment in seen.values():
        assert "owner@" not in " ".join(environment.values())


def test_airflows_password_is_its_owners_alone_and_stays(tmp_path: Path) -> None:
    from pipelines.orchestrator import password

    first = password(tmp_path)
    file = tmp_path / "airflow" / "passwords.json"
    assert file.stat().st_mode & 0o777 == 0o600
    assert password(tmp_path) == first
    assert len(first) >= 16


def test_an_overlong_log_keeps_its_end_beside_an_empty_one(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipelines.processes._LOG_LIMIT_BYTES", 100)
    child = house.child("talker", SLEEP)
    log = house.home / "logs" / "talker.log"
    log.parent.mkdir()
    log.write_bytes(b"a" * 500 + b"the end")
    child.bound_log()
    assert log.stat().st_size == 0
    assert log.with_suffix(".log.1").read_bytes() == b"a" * 93 + b"the end"


def test_signals_end_the_system_and_a_second_one_cannot_break_it_off(tmp_path: Path) -> None:
    program = (
        "import os, sys\n"
        "from pathlib import Path\n"
        "from pipelines.processes import Child, Ledger, Service\n"
        "from pipelines.supervise import Supervisor\n"
        f"home = Path({str(tmp_path)!r})\n"
        "ledger = Ledger(home / 'processes.json')\n"
        f"argv = (sys.executable, '-c', {STUBBORN!r})\n"
        "part = Child(Service('part', argv, dict(os.environ)), ledger, home)\n"
        "say = lambda line: print(line, flush=True)\n"
        "sys.exit(Supervisor(ledger, say).run((), lambda: [], lambda: [part], 'urls'))\n"
    )
    supervisor = subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, text=True
    )
    with supervisor:
        assert supervisor.stdout is not None
        for line in supervisor.stdout:
            if line.startswith("READY"):
                break
        time.sleep(0.5)  # until the part ignores the signal
        token = json.loads((tmp_path / "processes.json").read_text())["token"]
        supervisor.send_signal(signal.SIGTERM)
        time.sleep(0.3)
        supervisor.send_signal(signal.SIGINT)
        assert supervisor.wait(15) == 0
    assert members(token) == []


def test_a_handler_that_tells_the_thread_that_waits_to_stop_never_blocks_it() -> None:
    """``threading.Event`` in its stead hangs within seconds."""
    program = (
        "import random, signal\n"
        "from pipelines.processes import StopSign\n"
        "signs = [StopSign()]\n"
        "signal.signal(signal.SIGALRM, lambda *_: signs[-1].give())\n"
        "for _ in range(5_000):\n"
        "    signs.append(StopSign())\n"
        "    signal.setitimer(signal.ITIMER_REAL, random.uniform(2e-6, 1e-4))\n"
        "    while not signs[-1].wait(1e-6):\n"
        "        pass\n"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False, timeout=30).returncode == 0
