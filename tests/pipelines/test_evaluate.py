"""The evaluation on real parts: rendered scenes with exact truth, broken clips, a user's folder."""

import hashlib
import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from markupsafe import escape

from enforcement.errors import BadFootage, ConfigurationError
from enforcement.scoring import score_clip
from enforcement.truth import Expected
from media.scenes import SCENES, SceneEvent, render
from pipelines.evaluate import Evaluation, evaluate
from pipelines.evaluation_report import write_report
from pipelines.watching import watch_apart
from tests.detectors import footage as painted

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

WIDTH, HEIGHT = 1280, 720
NOW = datetime(2026, 6, 1, 8, tzinfo=UTC)


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def true_event(scene: str) -> SceneEvent:
    (event,) = SCENES[scene].events
    return event


def dumping_entry(path: Path) -> dict[str, Any]:
    event = true_event("layby-bag")
    left, top, right, bottom = event.box
    box_px = [left * WIDTH, top * HEIGHT, right * WIDTH, bottom * HEIGHT]
    alarm = {"family": "dumping", "onset_s": event.onset_s, "end_s": event.end_s,
             "box_px": box_px, "manner": "left_behind"}  # fmt: skip
    return {"file": path.name, "sha256": sha256(path), "licence": "own work",
            "expect": {"view": "suitable", "alarms": [alarm]}}  # fmt: skip


def intrusion_entry(path: Path) -> dict[str, Any]:
    event = true_event("closed-zone-person")
    (zone,) = SCENES["closed-zone-person"].zones
    check = {"family": "zone_intrusion", "occupied_s": [[event.onset_s, event.end_s]],
             "zone_px": [[x * WIDTH, y * HEIGHT] for x, y in zone.polygon]}  # fmt: skip
    return {"file": path.name, "sha256": sha256(path),
            "expect": {"view": "suitable", "alarms": [], "zone_checks": [check]}}  # fmt: skip


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two good clips among three that cannot be used, one that is mistyped and a picture."""
    folder = tmp_path_factory.mktemp("index")
    bag, person = folder / "bag.mp4", folder / "person.mp4"
    render("layby-bag", bag)
    render("closed-zone-person", person)
    broken = folder / "broken.mp4"
    broken.write_bytes(b"no footage at all" * 100)
    nothing = {"view": "suitable", "alarms": []}
    fire = {"view": "suitable", "alarms": [{"family": "fire", "onset_s": 1.0}]}
    entries = [
        {"file": broken.name, "sha256": sha256(broken), "expect": nothing},
        dumping_entry(bag),
        intrusion_entry(person),
        {"file": "gone.mp4", "sha256": "0" * 64, "expect": nothing},
        {"file": bag.name, "sha256": "0" * 64, "expect": fire},
        {"file": "typo.mp4", "expect": {"alarm": []}},
        {"file": "picture.jpg", "sha256": "0" * 64},
    ]
    (folder / "index.json").write_text(json.dumps(entries))
    return folder / "index.json"


@pytest.fixture(scope="module")
def evaluation(index: Path) -> Evaluation:
    return evaluate(index)


@pytest.fixture(scope="module")
def figures(evaluation: Evaluation) -> dict[str, Any]:
    """As a program gets them: through JSON."""
    return dict(json.loads(json.dumps(evaluation.as_json())))


def test_a_bag_left_behind_is_found_in_time_and_in_place(figures: dict[str, Any]) -> None:
    dumping = figures["families"]["dumping"]
    assert (dumping["precision"], dumping["recall"], dumping["f1"]) == (1.0, 1.0, 1.0)
    assert dumping["localised"] == 1.0
    assert dumping["by_manner"]["left_behind"] == {"positives": 1, "found": 1, "recall": 1.0}
    bag = figures["clips"][1]
    (alarm,) = bag["alarms"]
    verdict = bag["verdicts"]["dumping"]
    onset_s = true_event("layby-bag").onset_s
    assert verdict["verdict"] == "true_positive"
    assert verdict["delay_s"] == pytest.approx(alarm["t_s"] - onset_s, abs=0.002)
    assert dumping["delay_s"] == pytest.approx(verdict["delay_s"])
    assert (alarm["family"], alarm["rule"]) == ("dumping", "object-left-behind")
    assert any("away since" in reason for reason in alarm["reasons"])


def test_a_zone_of_the_index_is_watched_and_the_whole_frame_only_against_dumping(
    figures: dict[str, Any],
) -> None:
    intrusion = figures["families"]["zone_intrusion"]
    assert (intrusion["true_positives"], intrusion["false_positives"]) == (1, 0)
    assert [alarm["family"] for alarm in figures["clips"][1]["alarms"]] == ["dumping"]
    assert figures["families"]["stopped_vehicle"]["positives"] == 0
    assert figures["families"]["stopped_vehicle"]["negatives"] == 0


def test_fire_is_looked_for_everywhere_and_helmets_only_where_the_index_wants_them(
    figures: dict[str, Any],
) -> None:
    fire, helmets = (figures["families"][family] for family in ("fire", "no_helmet"))
    assert (fire["covered"], fire["negatives"], fire["false_alarms"]) == (True, 2, 0)
    assert (helmets["covered"], helmets["negatives"], helmets["positives"]) == (True, 0, 0)


def test_false_alarms_are_counted_over_the_hours_without_an_event(figures: dict[str, Any]) -> None:
    overall = figures["overall"]
    seconds = SCENES["closed-zone-person"].duration_s
    assert overall["false_alarms"] == 0
    assert overall["negative_hours"] == pytest.approx(seconds / 3600, abs=2e-5)
    bound = overall["false_alarms_per_camera_hour_upper_95"]
    assert bound == pytest.approx(2.9957 / overall["negative_hours"], rel=0.01)
    assert (overall["precision"], overall["recall"], overall["f1"]) == (1.0, 1.0, 1.0)


@pytest.mark.parametrize(
    ("number", "reason"),
    [
        (0, "cannot be read as footage"),
        (3, "there is no such file"),
        (4, "its sha256 is"),
        (5, "expect.alarm: Extra inputs are not permitted"),
    ],
)
def test_a_clip_that_cannot_be_used_is_an_error_of_that_clip_alone(
    figures: dict[str, Any], number: int, reason: str
) -> None:
    entry = figures["clips"][number]
    assert reason in entry["error"]
    assert "verdicts" not in entry
    assert figures["overall"]["errors"] == 4
    assert figures["overall"]["clips"] == 6
    assert figures["overall"]["not_footage"] == 1


def test_each_clip_says_what_it_cost_in_a_process_of_its_own(figures: dict[str, Any]) -> None:
    watched = [clip for clip in figures["clips"] if clip["error"] is None]
    for clip in watched:
        assert 0.01 < clip["cpu_s_per_camera_s"] < 10
        assert 60 < clip["peak_memory_mib"] < 2000
        assert clip["view"] == clip["view_expected"] == "fixed"
    overall = figures["overall"]
    assert overall["cpu_s_per_camera_s"] == pytest.approx(
        sum(clip["cpu_s"] for clip in watched) / sum(clip["duration_s"] for clip in watched),
        rel=0.01,
    )
    assert overall["peak_memory_mib"] == max(clip["peak_memory_mib"] for clip in watched)
    assert (overall["views_right"], overall["views_asked"]) == (2, 2)


def test_the_report_is_one_file_that_shows_errors_but_no_right_clip(
    evaluation: Evaluation, tmp_path: Path
) -> None:
    target = tmp_path / "report.html"
    write_report(evaluation, target, NOW)
    html = target.read_text("utf-8")
    assert "Evaluation of index.json" in html
    assert "cannot be read as footage" in html
    assert "data:image/jpeg" not in html
    assert not re.search(r"""(src|href)=["']?(https?:)?//""", html)


def test_the_report_shows_a_false_alarm_with_pictures_and_the_rules_reasons(
    evaluation: Evaluation, tmp_path: Path
) -> None:
    found = evaluation.outcomes[1]
    assert found.watched is not None
    nothing_true = replace(found.clip, expected=Expected())
    size = (WIDTH, HEIGHT, found.watched.duration_s)
    scored = score_clip("bag.mp4", Expected(), size, found.watched.alarms, evaluation.covered)
    outcome = replace(found, clip=nothing_true, scored=scored)
    write_report(replace(evaluation, outcomes=(outcome,)), tmp_path / "report.html", NOW)
    html = (tmp_path / "report.html").read_text("utf-8")
    assert html.count('src="data:image/jpeg;base64,') == 3
    assert "false alarm</span>" in html
    assert all(escape(reason) in html for reason in found.watched.alarms[0].reasons)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """What a user might have: one short clip that nothing happens in, and other files."""
    folder = tmp_path / "my clips"
    folder.mkdir()
    ground = painted.ground()
    painted.write(folder / "quiet & still.mp4", lambda _: ground, 3.0)
    (folder / "notes.txt").write_text("not footage")
    return folder


def test_the_report_shows_a_miss_with_pictures_and_what_was_seen(folder: Path) -> None:
    alarm = {"family": "dumping", "onset_s": 1.0, "end_s": 2.0, "box_px": [200, 180, 224, 200]}
    expect = {"alarms": [alarm]}
    index = folder / "index.json"
    index.write_text(json.dumps([{"file": "quiet & still.mp4", "expect": expect}]))
    evaluation = evaluate(index)
    assert evaluation.as_json()["families"]["dumping"]["false_negatives"] == 1
    write_report(evaluation, folder / "report.html", NOW)
    html = (folder / "report.html").read_text("utf-8")
    assert html.count('src="data:image/jpeg;base64,') == 3
    assert "nothing was seen to come to rest there" in html
    assert "quiet &amp; still.mp4" in html


def run_command(*arguments: object) -> "subprocess.CompletedProcess[str]":
    environment = {k: v for k, v in os.environ.items() if not k.startswith("SIGHTLINE_")}
    if "SIGHTLINE_MODELS" in os.environ:
        environment["SIGHTLINE_MODELS"] = os.environ["SIGHTLINE_MODELS"]
    command = [sys.executable, "-m", "pipelines.cli", "evaluate", *map(str, arguments)]
    environment["SIGHTLINE_HOME"] = "/nonexistent/home"
    return subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=120, check=False
    )


def test_a_users_folder_needs_no_truth_no_store_and_no_catalog(folder: Path) -> None:
    report = folder / "found.html"
    done = run_command(folder, "--json", "--report", report)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    (clip,) = found["clips"]
    assert clip["file"] == "quiet & still.mp4"
    assert clip["alarms"] == []
    assert "verdicts" not in clip
    assert found["families"] == {}
    assert found["overall"]["cpu_s_per_camera_s"] > 0
    assert "f1" not in found["overall"]
    assert "What was found" in report.read_text("utf-8")


@pytest.mark.parametrize(
    ("source", "content", "reason"),
    [
        ("gone.json", None, "there is no"),
        ("index.json", "{]", "is no index"),
        ("index.json", "{}", "must hold a JSON list"),
        ("index.json", '[{"sha256": "0"}]', "entry 0 names no `file`"),
        ("index.json", '[{"file": "a.jpg"}]', "nothing to evaluate"),
        (".", "[]", "holds no footage"),
    ],
)
def test_nothing_to_watch_is_one_clear_error(
    tmp_path: Path, source: str, content: str | None, reason: str
) -> None:
    if content is not None:
        (tmp_path / "index.json").write_text(content)
    with pytest.raises(ConfigurationError, match=re.escape(reason)):
        evaluate(tmp_path / source)


def test_an_unknown_clip_is_an_error_that_lists_the_known(index: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"no clip bags; there are broken\.mp4, bag\.mp4"):
        evaluate(index, ["bags"])


def test_the_command_ends_with_one_line_when_the_index_is_missing(tmp_path: Path) -> None:
    done = run_command(tmp_path / "gone.json")
    assert done.returncode == 1
    assert "there is no" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("does", "reason"),
    [("kill -SEGV $$", "crashed"), ("echo hopeless >&2; exit 3", "hopeless"),
     ("exec sleep 60", "given up after 0.5 s")],
)  # fmt: skip
def test_a_process_that_crashes_or_hangs_is_an_error_of_its_clip(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, does: str, reason: str
) -> None:
    program = tmp_path / "python"
    program.write_text(f"#!/bin/sh\n{does}\n")
    program.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(program))
    with pytest.raises(BadFootage, match=reason):
        watch_apart(tmp_path / "clip.mp4", Expected(), stall_s=0.5)
