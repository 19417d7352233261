"""How Airflow runs on one machine: ``airflow standalone``, its settings, password and launcher.

This module starts nothing and imports no Airflow: it writes down how the supervisor is to start it.
"""

import json
import os
import secrets
import sys
import sysconfig
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path

from enforcement.errors import ConfigurationError
from pipelines.processes import Service

USER = "admin"

_HOST = "127.0.0.1"
_HEALTHY_PARTS = ("metadatabase", "scheduler", "dag_processor")


def airflow_service(home: Path, port: int, environment: Mapping[str, str]) -> Service:
    """Airflow over ``<home>/airflow``, its API and pages on loopback at ``port``.

    ``environment`` is what its tasks are to see besides Airflow's own variables. Writes the
    password file and the launcher. Raises ConfigurationError if Airflow is not installed.
    """
    folder = home / "airflow"
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    scripts = Path(sysconfig.get_path("scripts"))
    if not (scripts / "airflow").exists():
        raise ConfigurationError(f"Airflow is not installed in {sys.prefix}: run `make setup`")
    launcher = _write_launcher(folder / "bin" / "airflow", scripts / "airflow", port)
    inherited = {k: v for k, v in environment.items() if not k.startswith("AIRFLOW_")}
    own = {
        "PATH": os.pathsep.join([str(launcher.parent), environment.get("PATH", os.defpath)]),
        "PYTHONPATH": os.pathsep.join(
            filter(None, [str(_installation()), environment.get("PYTHONPATH")])
        ),
    }
    return Service(
        name="airflow",
        argv=(str(launcher), "standalone"),
        environment={**inherited, **own, **_settings(folder, port)},
        probe=lambda: is_healthy(port),
        folder=folder,
        ready_within_s=180.0,
    )


def password(home: Path) -> str:
    """The password of Airflow's user ``admin``, made on first use (file mode 0600)."""
    path = _password_file(home / "airflow")
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        draft = path.with_suffix(".new")
        draft.unlink(missing_ok=True)
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            json.dump({USER: secrets.token_urlsafe(12)}, file)
        draft.replace(path)
    try:
        return str(json.loads(path.read_text("utf-8"))[USER])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigurationError(f"{path} holds no password: delete it to get a new one") from error


def is_healthy(port: int) -> bool:
    """Whether Airflow's own health page calls database, scheduler and DAG processor healthy."""
    url = f"http://{_HOST}:{port}/api/v2/monitor/health"
    try:
        with urllib.request.urlopen(url, timeout=5.0) as answer:
            parts = json.load(answer)
    except (OSError, ValueError, urllib.error.URLError):
        return False
    return all(parts.get(part, {}).get("status") == "healthy" for part in _HEALTHY_PARTS)


def dags_folder() -> Path:
    """The DAG files of this installation: beside the rooms, or where a wheel puts them."""
    beside = _installation() / "dags"
    return beside if beside.is_dir() else Path(sys.prefix) / "share" / "sightline" / "dags"


def _installation() -> Path:
    """The folder that holds the rooms; tasks import their step from there."""
    return Path(__file__).resolve().parents[1]


def _password_file(folder: Path) -> Path:
    return folder / "passwords.json"


def _settings(folder: Path, port: int) -> dict[str, str]:
    """Airflow's settings for one small machine, as environment variables."""
    url = f"http://{_HOST}:{port}"
    sections: dict[str, dict[str, object]] = {
        "core": {
            "dags_folder": dags_folder(),
            "plugins_folder": dags_folder() / "plugins",
            "load_examples": False,
            "executor": "LocalExecutor",
            # Each slot is a process of 100 MB or more; the default of 32 takes up to 1.9 GB.
            "parallelism": 4,
            "execution_api_server_url": f"{url}/execution/",
            "simple_auth_manager_users": f"{USER}:admin",
            "simple_auth_manager_passwords_file": _password_file(folder),
        },
        "api": {"host": _HOST, "port": port, "base_url": url, "workers": 1},
        "database": {"sql_alchemy_conn": f"sqlite:///{folder / 'airflow.db'}"},
        # A small machine may be busy with footage: tasks wait for the API rather than fail.
        "workers": {"execution_api_timeout": 30.0},
        "logging": {"base_log_folder": folder / "logs", "namespace_levels": "http.access=WARNING"},
        "scheduler": {
            # 0.2 s a chained task rather than 1.1 s.
            "scheduler_idle_sleep_time": 0.1,
            # After a crash the tasks that ran are taken up again within half a minute. Airflow's
            # own values, made for schedulers that take over from each other, wait five minutes.
            "scheduler_health_check_threshold": 20,
            "orphaned_tasks_check_interval": 15,
            "task_instance_heartbeat_timeout": 60,
        },
        "dag_processor": {"parsing_processes": 1},
        "usage_data_collection": {"enabled": False},
    }
    variables = {
        f"AIRFLOW__{section}__{key}".upper(): str(value)
        for section, values in sections.items()
        for key, value in values.items()
    }
    return {"AIRFLOW_HOME": str(folder), **variables}


_LAUNCHER = """\
#!/bin/sh
'''exec' {python!r} "$0" "$@"
' '''
# How `airflow standalone` starts its parts; written anew at each start.
import os, socket, sys, time

arguments = sys.argv[1:]
if arguments[:1] in (["scheduler"], ["triggerer"]):
    arguments.append("--skip-serve-logs")
if arguments[:1] == ["scheduler"]:
    for _ in range(600):
        try:
            socket.create_connection(({host!r}, {port}), timeout=1).close()
            break
        except OSError:
            time.sleep(0.2)
os.execv({python!r}, [{python!r}, {airflow!r}, *arguments])
"""


def _write_launcher(path: Path, airflow: Path, port: int) -> Path:
    """A program ``airflow`` for ``airflow standalone`` to start its parts by.

    Scheduler and triggerer would each open a server for log files on all network interfaces, with
    no setting to bind it elsewhere (Airflow 3.3). On one machine the pages read the files
    themselves, so the servers stay off. And the scheduler waits for the API server: tasks report to
    it, and on a slow machine the first ones would fail for want of it.
    """
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    text = _LAUNCHER.format(python=sys.executable, host=_HOST, port=port, airflow=str(airflow))
    path.write_text(text, "utf-8")
    path.chmod(0o700)
    return path
