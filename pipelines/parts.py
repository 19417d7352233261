"""The parts of an embedded system, and what each is told: S3 server, Airflow, review, peers."""

import os
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path

import psutil
from pydantic import SecretStr

from enforcement.errors import SightlineError
from pipelines import orchestrator
from pipelines.processes import Ledger, Service, last_lines
from pipelines.wiring import s3_folder
from settings.environment import Settings
from storage import seaweed

HOST = "127.0.0.1"

Peers = Sequence[tuple[str, list[str]]]
"""Further processes to keep running, by name and command."""


class StorePart:
    """The embedded S3 server as a part that is kept running."""

    name = "s3"
    ready_within_s = 40.0

    def __init__(self, settings: Settings, ledger: Ledger) -> None:
        self._server = seaweed.SeaweedServer(s3_folder(settings), settings.s3_port)
        self._ledger = ledger
        self._starting: threading.Thread | None = None
        self._problem = ""

    def start(self) -> None:
        self._problem = ""
        self._starting = threading.Thread(target=self._start, daemon=True)
        self._starting.start()
        # On record from its first moments, should this process be killed while the server starts.
        while (pid := self._server.pid()) is None and self._starting.is_alive():
            time.sleep(0.005)
        if pid is not None:
            self._ledger.record(self.name, pid)

    def running(self) -> bool:
        return self._is_starting() or self._server.pid() is not None

    def serves(self) -> bool:
        return not self._is_starting() and _answers(f"http://{self._server.endpoint}/healthz")

    def members(self) -> list[psutil.Process]:
        pid = self._server.pid()
        try:
            return [psutil.Process(pid)] if pid is not None else []
        except psutil.NoSuchProcess:
            return []

    def last_words(self) -> str:
        return self._problem or last_lines(self._server.log_file)

    def bound_log(self) -> None:
        """The server's own log is bounded at each start."""

    def _is_starting(self) -> bool:
        return self._starting is not None and self._starting.is_alive()

    def _start(self) -> None:
        try:
            self._server.start()
        except SightlineError as error:
            self._problem = str(error)


def services(settings: Settings, peers: Peers) -> list[Service]:
    """Airflow, the review application, the collector and the peers, each with the environment that
    it needs."""
    environment = child_environment(settings)
    # Each sees its own database role only; the owner's is for migrations, here and now.
    pipeline = {k: v for k, v in environment.items() if k not in _ROLES - {_PIPELINE}}
    review = {k: v for k, v in environment.items() if k not in _ROLES - {_REVIEW}}
    if _REVIEW not in environment and _PIPELINE in environment:
        review[_PIPELINE] = environment[_PIPELINE]
    return [
        orchestrator.airflow_service(settings.home, settings.airflow_port, pipeline),
        Service(
            name="review",
            argv=(sys.executable, "-m", "review"),
            environment=review,
            probe=lambda: _answers(f"http://{HOST}:{settings.review_port}/healthz"),
        ),
        Service(
            name="collector",
            argv=(sys.executable, "-m", "pipelines.cli", "collect"),
            environment=pipeline,
        ),
        *(Service(name=name, argv=tuple(argv), environment=pipeline) for name, argv in peers),
    ]


_PIPELINE, _REVIEW = "SIGHTLINE_RECORDS_URL", "SIGHTLINE_REVIEW_RECORDS_URL"
_ROLES = {_PIPELINE, _REVIEW, "SIGHTLINE_ADMIN_RECORDS_URL"}


def child_environment(settings: Settings) -> dict[str, str]:
    """This process's environment with every setting spelled out, so that all children agree."""
    values: dict[str, object] = dict(settings)
    if settings.embedded_store:
        keys = seaweed.load_credentials(s3_folder(settings))
        values |= {
            "s3_endpoint": f"{HOST}:{settings.s3_port}",
            "s3_access_key": keys.access_key,
            "s3_secret_key": keys.secret_key,
            "s3_secure": False,
            "store_folder": s3_folder(settings),
        }
    return os.environ | {
        f"SIGHTLINE_{name.upper()}": _as_text(value)
        for name, value in values.items()
        if value is not None
    }


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=3.0) as answer:  # noqa: S310 - http, built above
            return bool(answer.status == 200)
    except (OSError, urllib.error.URLError):
        return False


def _as_text(value: object) -> str:
    if isinstance(value, SecretStr):
        return value.get_secret_value()
    if isinstance(value, bool):
        return str(value).lower()
    return str(value.absolute() if isinstance(value, Path) else value)
