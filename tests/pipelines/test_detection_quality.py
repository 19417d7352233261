"""Verdicts on rendered evaluation footage: they change when a condition of the rules is dropped."""

import json
from functools import cache
from pathlib import Path

import pytest

from enforcement.rules import find
from enforcement.scoring import Verdict, alarm_of, score_clip
from enforcement.truth import DUMPING, IndexEntry, zones_of
from media.evaluation_scenes import evaluation_set, render_set
from pipelines.wiring import Wiring
from settings.catalog import SHIPPED_CATALOG, load_catalog
from settings.environment import Settings

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

LEFT, THROWN = "object-left-behind", "object-thrown"
SCENES: dict[str, set[str]] = {
    "bag in the rain": {LEFT},
    "throw in passing 5": {THROWN},
    "fall from a window 1": {THROWN},
    "load slides off": {LEFT},
    "bag put down and taken after 8 s": set(),
    "owner takes a bag away": set(),
    "vehicle stops and goes": set(),
    "refuse collection": set(),
}
"""What happens, and which rules must have raised an alarm."""


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """These clips of the split that detection was tuned on, and their truth."""
    names = [clip.name for clip in evaluation_set("tuning") if clip.deed in SCENES]
    assert len(names) == len(SCENES)
    return render_set("tuning", tmp_path_factory.mktemp("tuning"), names=names)


@cache
def wiring() -> Wiring:
    return Wiring(Settings.load())


@pytest.mark.parametrize("deed", SCENES)
def test_what_happens_is_found_by_the_right_rule_in_time_or_not_at_all(
    deed: str, index: Path
) -> None:
    entries = {one["truth"]["what"]: one for one in json.loads(index.read_text("utf-8"))}
    entry = IndexEntry.model_validate_json(json.dumps(entries[deed]))
    expected = entry.expect
    assert expected is not None
    rules = [
        rule
        for rule in load_catalog(SHIPPED_CATALOG).current_rules
        if rule.rule_id in {LEFT, THROWN}
    ]
    seen = wiring().cascade(rules).look(index.parent / entry.file, "c").observations
    size = (seen[0].width_px, seen[0].height_px)
    zones = zones_of(expected, *size)
    alarms = [alarm_of(f, rule.kind) for rule in rules for f in find(rule, zones, seen)]
    scored = score_clip(
        entry.file, expected, (*size, seen[0].duration_s), alarms, frozenset({DUMPING})
    )
    (judged,) = (one for one in scored.judgements if one.family == DUMPING)
    right = Verdict.TRUE_POSITIVE if SCENES[deed] else Verdict.TRUE_NEGATIVE
    assert (judged.verdict, {alarm.rule for alarm in alarms}) == (right, SCENES[deed])
    if SCENES[deed]:
        assert judged.localised
        first = min(alarms, key=lambda alarm: alarm.t_s)
        onset_s = judged.onset_s
        assert onset_s is not None
        assert first.onset_s == pytest.approx(onset_s, abs=1.0)
