"""The command: every verb teaches, and bad input gets one clear line that says what to do."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from pipelines.cli import app

VERBS = [
    [],
    ["init"],
    ["up"],
    ["ingest"],
    ["evaluate"],
    ["backfill"],
    ["queue"],
    ["queue", "list"],
    ["dispatch"],
    ["models"],
    ["models", "pull"],
    ["models", "list"],
    ["demo"],
    ["demo", "render"],
    ["catalog"],
    ["catalog", "check"],
    ["catalog", "preview"],
    ["accounts"],
    ["accounts", "add"],
    ["accounts", "list"],
    ["accounts", "close"],
    ["evidence"],
    ["evidence", "quarantined"],
    ["evidence", "verify"],
]


def sightline(
    home: Path, *arguments: str, **environment: str
) -> "subprocess.CompletedProcess[str]":
    kept = {k: v for k, v in os.environ.items() if not k.startswith("SIGHTLINE_")}
    return subprocess.run(
        [sys.executable, "-m", "pipelines.cli", *arguments],
        env=kept | {"SIGHTLINE_HOME": str(home)} | environment,
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


@pytest.mark.parametrize("verb", VERBS, ids=" ".join)
def test_every_verb_has_help_that_teaches(verb: list[str]) -> None:
    shown = CliRunner().invoke(app, [*verb, "--help"])
    assert shown.exit_code == 0
    body = shown.output.split("Options")[0]
    assert len(body.split()) > 8, "a usage line alone teaches nothing"


@pytest.mark.parametrize(
    ("arguments", "environment", "said"),
    [
        (["ingest", "no-such-file.mp4"], {}, "there is no file no-such-file.mp4"),
        (["init"], {"SIGHTLINE_CONFIRMATIONS_REQUIRED": "0"}, "SIGHTLINE_CONFIRMATIONS_REQUIRED"),
        (["init"], {"SIGHTLINE_REVIEW_PORT": "80"}, "SIGHTLINE_REVIEW_PORT"),
        (["init"], {"SIGHTLINE_S3_ENDPOINT": "s3:1"}, "SIGHTLINE_S3_ACCESS_KEY"),
        (["demo", "render", "x", "--scene", "moon"], {}, "there are layby-bag"),
        (["catalog", "check"], {}, "sightline init"),
        (
            ["accounts", "add", "x", "--role", "officer", "--person", "p", "--name", "n",
             "--password", "long enough 12345"], {}, "certificate",
        ),
        (
            ["accounts", "add", "x", "--role", "analyst", "--person", "p", "--name", "n",
             "--password", "short"], {}, "at least 12 characters",
        ),
        (["accounts", "close", "nobody"], {}, "no account nobody"),
        (
            ["queue", "list"],
            {"SIGHTLINE_RECORDS_URL": "postgresql+psycopg://u:hunter2@127.0.0.1:1/x"},
            "records database does not answer",
        ),
    ],
)  # fmt: skip
def test_bad_input_gets_one_clear_line(
    tmp_path: Path, arguments: list[str], environment: dict[str, str], said: str
) -> None:
    done = sightline(tmp_path, *arguments, **environment)
    assert done.returncode == 1
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert "hunter2" not in done.stderr


def test_an_empty_queue_is_an_empty_list_for_programs(tmp_path: Path) -> None:
    done = sightline(tmp_path, "queue", "list", "--json")
    assert json.loads(done.stdout) == {"leads": []}


def test_backfill_says_how_a_version_is_pinned(tmp_path: Path) -> None:
    span = ("--from", "2026-11-01", "--to", "2026-11-02")
    done = sightline(tmp_path, "backfill", "inbox", *span, "--rule", "noise")
    assert done.returncode == 1
    assert "write ID@VERSION" in done.stderr
