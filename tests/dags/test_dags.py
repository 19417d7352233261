"""The DAG files as Airflow reads them, and what they must never do."""

import ast
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from storage.records.database import Database

ROOT = Path(__file__).parents[2]
DAGS = ROOT / "dags"
FILES = sorted(DAGS.glob("*.py"))
ROOMS = {path.name for path in ROOT.iterdir() if (path / "__init__.py").exists()}

# Airflow sets up logging, a database and import paths for the whole process that imports it, so it
# is asked in a process of its own.
DESCRIBE = """
import json, sys
from airflow.dag_processing.dagbag import DagBag
from airflow.serialization.serialized_objects import DagSerialization

bag = DagBag(sys.argv[1])
print(json.dumps({
    "errors": bag.import_errors,
    "warnings": {name: list(texts) for name, texts in bag.captured_warnings.items()},
    "dags": {name: DagSerialization.to_dict(dag)["dag"] for name, dag in bag.dags.items()},
}, default=str))
"""


def described(home: Path, **environment: str) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-c", DESCRIBE, str(DAGS)],
        env={
            "PATH": os.environ["PATH"],
            "HOME": str(home),
            "PYTHONPATH": str(ROOT),
            "AIRFLOW_HOME": str(home),
            "AIRFLOW__CORE__DAGS_FOLDER": str(DAGS),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW__LOGGING__LOGGING_LEVEL": "ERROR",
            **environment,
        },
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    told: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return told


@pytest.fixture(scope="session")
def bag(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return described(tmp_path_factory.mktemp("airflow"))


def tasks(bag: dict[str, Any], dag_id: str) -> dict[str, dict[str, Any]]:
    return {task["__var"]["task_id"]: task["__var"] for task in bag["dags"][dag_id]["tasks"]}


def settings_of(task: dict[str, Any]) -> dict[str, Any]:
    """A mapped task keeps them apart, for its instances."""
    settings: dict[str, Any] = task.get("partial_kwargs", task)
    return settings


def imports(node: ast.AST) -> set[str]:
    found = set()
    for inner in ast.walk(node):
        if isinstance(inner, ast.Import):
            found |= {alias.name for alias in inner.names}
        elif isinstance(inner, ast.ImportFrom):
            found.add(inner.module or "")
    return found


def task_functions(path: Path) -> list[ast.FunctionDef]:
    """The functions decorated with ``@task`` or ``@task(…)``."""
    found = []
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.FunctionDef):
            names = {ast.unparse(d).split("(")[0] for d in node.decorator_list}
            found += [node] if names & {"task", "task.sensor"} else []
    return found


def test_all_dags_are_read_without_error_or_warning(bag: dict[str, Any]) -> None:
    assert bag["errors"] == {}
    assert bag["warnings"] == {}
    assert set(bag["dags"]) == {
        "pull_footage", "raise_leads", "sweep_windows", "patrol_flights", "dispatch_cases",
    }  # fmt: skip


def test_no_dag_file_is_named_like_a_room() -> None:
    """Airflow puts the folder on sys.path, where such a file would hide the room."""
    assert len(ROOMS) >= 8
    assert not {path.stem for path in FILES} & ROOMS


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_task_is_one_import_and_one_call_into_pipelines(path: Path) -> None:
    assert task_functions(path)
    for function in task_functions(path):
        [module] = imports(function)
        assert module.startswith("pipelines.")
        returned = [node for node in ast.walk(function) if isinstance(node, ast.Return)]
        assert len(returned) == 1


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_dag_file_itself_imports_nothing_heavy(path: Path) -> None:
    """The DAG processor reads these files all the time."""
    top = set()
    for node in ast.parse(path.read_text("utf-8")).body:
        if isinstance(node, ast.Import | ast.ImportFrom):
            top |= imports(node)
    assert {name.split(".")[0] for name in top} <= {"airflow", "datetime", "os"}


def test_only_dispatch_cases_may_dispatch() -> None:
    users = {
        path.stem
        for path in DAGS.rglob("*.py")
        if "pipelines.dispatch" in imports(ast.parse(path.read_text("utf-8")))
    }
    assert users == {"dispatch_cases"}


def test_nothing_leads_from_raising_leads_to_dispatch(bag: dict[str, Any]) -> None:
    """No asset, sensor or trigger: dispatch is on a clock, and what it finds people have made."""
    for dag_id in ("raise_leads", "sweep_windows", "patrol_flights", "dispatch_cases"):
        assert not any(settings_of(task).get("outlets") for task in tasks(bag, dag_id).values())
    dispatch = bag["dags"]["dispatch_cases"]
    assert "CronTriggerTimetable" in dispatch["timetable"]["__type"]
    assert "asset" not in json.dumps(dispatch["timetable"]).lower()
    kinds = {task["task_type"] for dag in bag["dags"] for task in tasks(bag, dag).values()}
    assert kinds == {"_PythonDecoratedOperator", "EmptyOperator"}


def test_a_failed_first_step_of_dispatch_is_not_hidden_by_the_second(bag: dict[str, Any]) -> None:
    steps = tasks(bag, "dispatch_cases")
    assert steps["deliver_due"]["trigger_rule"] == "all_done"
    assert set(steps["dispatch_confirmed"]["downstream_task_ids"]) == {"deliver_due", "both_done"}
    assert steps["both_done"].get("trigger_rule", "all_success") == "all_success"


def test_no_operator_waits_for_a_human() -> None:
    for path in DAGS.rglob("*.py"):
        names = imports(ast.parse(path.read_text("utf-8")))
        assert not any("hitl" in name for name in names)


def test_filed_captures_start_the_raising_of_leads_and_so_does_the_clock(
    bag: dict[str, Any],
) -> None:
    outlets = {
        outlet["__var"]["name"]
        for task in tasks(bag, "pull_footage").values()
        for outlet in settings_of(task).get("outlets", [])
    }
    schedule = bag["dags"]["raise_leads"]["timetable"]
    assert outlets == {"sightline_captures"}
    assert "AssetOrTimeSchedule" in schedule["__type"]
    assert '"name": "sightline_captures"' in json.dumps(schedule)
    assert "CronTriggerTimetable" in json.dumps(schedule)


def test_each_feed_has_a_lane_of_its_own_in_which_no_step_waits_for_a_faultless_one(
    bag: dict[str, Any],
) -> None:
    group = bag["dags"]["raise_leads"]["task_group"]
    lane = group["children"]["lane"][1]
    assert lane["is_mapped"]
    assert set(lane["children"]) == {"lane.observe", "lane.correlate", "lane.seal"}
    steps = tasks(bag, "raise_leads")
    assert steps["lane.observe"]["max_active_tis_per_dag"] == 2
    assert "lane.observe" in steps["due_batches"]["downstream_task_ids"]
    assert steps["lane.observe"]["downstream_task_ids"] == ["lane.correlate"]
    assert steps["lane.correlate"]["downstream_task_ids"] == ["lane.seal"]
    assert not steps["lane.seal"].get("downstream_task_ids")
    for step in ("lane.correlate", "lane.seal"):
        assert settings_of(steps[step])["trigger_rule"] == "all_done"


@pytest.mark.parametrize(
    "dag_id", ["pull_footage", "raise_leads", "sweep_windows", "patrol_flights", "dispatch_cases"]
)
def test_dags_run_at_once_one_run_at_a_time_and_tasks_end(bag: dict[str, Any], dag_id: str) -> None:
    dag = bag["dags"][dag_id]
    assert dag["max_active_runs"] == 1
    assert dag["catchup"] is False
    assert dag["is_paused_upon_creation"] is False
    assert dag["dagrun_timeout"] > 0
    assert '"run_immediately": true' in json.dumps(dag["timetable"])
    assert dag["doc_md"].startswith(
        ("Pull:", "Raise leads:", "Sweep windows:", "Patrol flights:", "Dispatch:")
    )
    assert "sightline" in dag["tags"]
    defaults = bag["dags"][dag_id]["default_args"]["__var"]
    assert defaults["owner"] == "sightline"
    assert 1 <= defaults["retries"] <= 3
    assert defaults["retry_exponential_backoff"]
    for task in tasks(bag, dag_id).values():
        if task["task_type"] != "EmptyOperator":
            assert settings_of(task)["execution_timeout"]


def test_a_mission_with_a_schedule_is_a_dag_by_its_own_clock(tmp_path: Path) -> None:
    area = [[31.0, 121.0], [31.0, 121.1], [31.1, 121.1], [31.1, 121.0]]
    approval = {"approval_id": "UAS-7", "valid_from": "2026-01-01T00:00:00Z",
                "valid_until": "2027-01-01T00:00:00Z", "area": area}  # fmt: skip
    round_ = {"mission_id": "depot", "title": "Round of the depot", "feed_id": "drone",
              "purpose": "illegal dumping", "approval": approval, "grace_s": 600,
              "conventions": {"time_zone": "Asia/Shanghai"}}  # fmt: skip
    catalog = {
        "sites": [{"site_id": "town", "title": "Town"}],
        "feeds": [{"feed_id": "drone", "title": "Drone", "site_id": "town",
                   "source": {"kind": "drone_folder", "path": "flights"}}],
        "missions": [
            round_ | {"schedule": "30 9 * * 1-5"},
            round_ | {"mission_id": "on-call"},
        ],
    }  # fmt: skip
    (tmp_path / "catalog").mkdir()
    (tmp_path / "catalog" / "town.yaml").write_text(json.dumps(catalog))
    records = f"sqlite:///{tmp_path / 'records.sqlite'}"
    database = Database(records)
    database.migrate()
    database.close()
    bag = described(
        tmp_path, SIGHTLINE_CATALOG=str(tmp_path / "catalog"), SIGHTLINE_RECORDS_URL=records
    )
    assert bag["errors"] == {}
    assert [name for name in bag["dags"] if name.startswith("mission_")] == ["mission_depot"]
    dag = bag["dags"]["mission_depot"]
    assert "30 9 * * 1-5" in json.dumps(dag["timetable"])
    assert "Asia/Shanghai" in json.dumps(dag["timetable"])
    [(task_id, sensor)] = tasks(bag, "mission_depot").items()
    assert task_id == "await_flight"
    # Waiting takes no worker, and ends: an hour and the mission's grace time.
    assert sensor["reschedule"]
    assert dag["dagrun_timeout"] == 4200 + 3600


def test_the_navigation_leads_to_the_review_queue(tmp_path: Path) -> None:
    """As Airflow's own plugin manager sees it, with the port that the environment names."""
    program = (
        "import json\n"
        "from airflow import plugins_manager\n"
        "plugins, errors = plugins_manager._get_plugins()\n"
        "assert not errors, errors\n"
        "print(json.dumps([v for p in plugins for v in p.external_views]))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={
            "PATH": os.environ["PATH"],
            "AIRFLOW_HOME": str(tmp_path),
            "AIRFLOW__CORE__PLUGINS_FOLDER": str(DAGS / "plugins"),
            "SIGHTLINE_REVIEW_PORT": "9180",
        },
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    [view] = json.loads(done.stdout.splitlines()[-1])
    assert (view["name"], view["destination"]) == ("Review", "nav")
    assert view["href"] == "http://127.0.0.1:9180/"
    assert "url_route" not in view
