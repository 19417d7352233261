"""Kill the whole system at random moments of a demo run, restart it, and count what is left.

    .venv/bin/python -m tests.endurance.kill_nine --rounds 10

Starts ``sightline up --demo`` in an empty home, kills every process of it with SIGKILL after a
random time, starts it again, and so on; then lets it finish and checks: every capture that was
ever on record still is and re-hashes, no incident has two leads, all evidence re-hashes.
Takes about two minutes a round. Exit code 0 if nothing is lost, doubled or damaged.
"""

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TextIO

import psutil

EXPECTED_LEADS = 5


def main() -> int:
    """Run the rounds and print the counts."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--rounds", type=int, default=10)
    arguments.add_argument("--longest-s", type=float, default=90.0)
    arguments.add_argument("--seed", type=int, default=None)
    arguments.add_argument("--port", type=int, default=21000)
    options = arguments.parse_args()
    chance = random.Random(options.seed)
    home = Path(tempfile.mkdtemp(prefix="kill-nine-"))
    environment = _environment(home, options.port)
    seen: set[str] = set()
    for number in range(options.rounds):
        with (home / "up.log").open("a") as log:
            system = _start(environment, log)
            wait_s = chance.uniform(3.0, options.longest_s)
            time.sleep(wait_s)
            killed = _kill_all(home)
            system.wait(30)
        seen |= _captures(home)
        print(
            f"round {number + 1}: killed {killed} processes after {wait_s:.0f} s,"
            f" {len(seen)} captures on record",
            flush=True,
        )
    return _finish(home, environment, seen)


def _finish(home: Path, environment: dict[str, str], seen: set[str]) -> int:
    with (home / "up.log").open("a") as log:
        system = _start(environment, log)
        deadline = time.monotonic() + 900
        while time.monotonic() < deadline and len(_leads(environment)) < EXPECTED_LEADS:
            time.sleep(3)
        time.sleep(70)  # One more sweep of every DAG: what could come twice has come by then.
        leads = _leads(environment)
        verified = subprocess.run(
            [sys.executable, "-m", "pipelines.cli", "evidence", "verify", "--json"],
            env=environment, capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip
        system.terminate()
        system.wait(30)
    report = json.loads(verified.stdout)
    lost = seen - _captures(home)
    incidents = {(lead["rule_id"], lead["feed_id"]) for lead in leads}
    print(f"captures {report['captures']}, lost {len(lost)}")
    print(f"leads {len(leads)}, incidents {len(incidents)}, doubled {len(leads) - len(incidents)}")
    print(f"objects re-hashed {report['objects']}, damaged {len(report['damaged'])}")
    print(f"processes left {len(_processes(home))}, home {home}")
    whole = not lost and not report["damaged"] and len(leads) == len(incidents) == EXPECTED_LEADS
    return 0 if whole else 1


def _environment(home: Path, port: int) -> dict[str, str]:
    return os.environ | {
        "SIGHTLINE_HOME": str(home),
        "SIGHTLINE_REVIEW_PORT": str(port),
        "SIGHTLINE_RECEIVER_PORT": str(port + 1),
        "SIGHTLINE_AIRFLOW_PORT": str(port + 10),
        "SIGHTLINE_S3_PORT": str(port + 30),
    }


def _start(environment: dict[str, str], log: TextIO) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "pipelines.cli", "up", "--demo"],
        env=environment, stdout=log, stderr=log, start_new_session=True,
    )  # fmt: skip


def _processes(home: Path) -> list[psutil.Process]:
    """Every process of this home, wherever it was re-parented: by environment or command line."""
    found = []
    for process in psutil.process_iter():
        try:
            ours = process.environ().get("SIGHTLINE_HOME") == str(home)
            ours = ours or any(str(home) in part for part in process.cmdline())
        except (psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess):
            continue
        if ours and process.pid != os.getpid():
            found.append(process)
    return found


def _kill_all(home: Path) -> int:
    killed: set[int] = set()
    while found := _processes(home):
        for process in found:
            killed.add(process.pid)
            try:
                process.kill()
            except psutil.NoSuchProcess:
                continue
        psutil.wait_procs(found, timeout=10)
    return len(killed)


def _captures(home: Path) -> set[str]:
    import sqlite3

    path = home / "records.sqlite"
    if not path.exists():
        return set()
    with sqlite3.connect(path, timeout=30) as connection:
        try:
            rows = connection.execute("SELECT capture_id FROM captures").fetchall()
        except sqlite3.OperationalError:
            return set()
    connection.close()
    return {row[0] for row in rows}


def _leads(environment: dict[str, str]) -> list[dict[str, str]]:
    listed = subprocess.run(
        [sys.executable, "-m", "pipelines.cli", "queue", "list", "--json"],
        env=environment, capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    leads: list[dict[str, str]] = json.loads(listed.stdout)["leads"]
    return leads


if __name__ == "__main__":
    sys.exit(main())
