"""Footage that was filed can be held against other versions of rules and models, later."""

import shutil
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import yaml

from detectors import thrown
from enforcement import lifecycle
from enforcement.cases import CaseState
from enforcement.errors import ConfigurationError, ModelError
from enforcement.evidence import EvidenceKind, Manifest, ModelUsed
from enforcement.footage import Observation
from enforcement.people import Account, Role
from media.footage import cut_clip
from pipelines import correlate, pull, seal
from pipelines.backfill import backfill
from pipelines.ingest import ingest_file
from pipelines.model_versions import ModelPin
from pipelines.observe import ModelKey, keys_of
from pipelines.wiring import Wiring
from storage.canonical import canonical_bytes, parse_canonical
from storage.evidence_store import BucketRole
from storage.records import captures, casebook
from tests.pipelines.test_way import environment, footage, leads, short, wired

__all__ = ["environment", "footage", "short", "wired"]  # fixtures

pytestmark = pytest.mark.timeout(200)

DAY = datetime(2026, 6, 1, tzinfo=UTC), datetime(2026, 6, 2, tzinfo=UTC)


def test_footage_is_held_against_the_version_that_is_pinned_and_nothing_raised_twice(
    wired: Wiring,
    short: Path,
) -> None:
    folder = wired.settings.catalog_folder
    rules = yaml.safe_load((folder / "rules.yaml").read_text("utf-8"))["rules"]
    [newest] = [one for one in rules if one["kind"] == "zone_intrusion"]
    withdrawn = newest | {"version": 2, "valid_until": "2026-01-01T00:00:00Z"}
    (folder / "withdrawn.yaml").write_text(yaml.safe_dump({"rules": [withdrawn]}), "utf-8")
    wired.__dict__.pop("catalog")
    assert ingest_file(wired, short, "closed-zone-person").leads == ()
    assert backfill("closed-zone-person", *DAY) == (1, 0, (), {})
    assert backfill("closed-zone-person", DAY[1], DAY[1].replace(day=3)) == (0, 0, (), {})
    pins = {newest["rule_id"]: 1}
    [lead_id] = backfill("closed-zone-person", *DAY, pins).raised
    assert backfill("closed-zone-person", *DAY, pins) == (1, 0, (), {})
    with wired.database.transaction() as connection:
        assert casebook.load_lead(connection, lead_id).rule_version == 1
    assert len(leads(wired)) == 1


FEED = "closed-zone-person"
MODEL = "yolov8n-coco"
ANALYST = Account(
    account_id="ana", username="ana", person_id="p-ana", display_name="Ana", role=Role.ANALYST
)
OLD = "0ddba11" + "0" * 57


@pytest.fixture
def quiet(footage: Callable[[str], Path]) -> Path:
    """Three seconds of the same view in which nobody is there."""
    path = footage(FEED).with_name("quiet_20260601T080000Z.mp4")
    if not path.exists():
        cut_clip(footage(FEED), path, 1.0, 4.5)
    return path


def key_of(wired: Wiring, model: str = MODEL) -> ModelKey:
    keys = keys_of(wired.cascade_for(wired.catalog.feed(FEED)))
    return next(key for key in keys if key[0] == model)


def seen_by_today(wired: Wiring, capture_id: str) -> Observation:
    with wired.database.transaction() as connection:
        stored = captures.observation_objects(connection, capture_id)[key_of(wired)]
    return parse_canonical(Observation, wired.store.read(stored))


def look_earlier(
    wired: Wiring, capture_id: str, seen: Observation, digest: str, config: str, day: int
) -> None:
    """Store what another version of the model saw in a capture, as of a day of May."""
    update = {"capture_id": capture_id, "model_digest": digest, "config_digest": config}
    observation = seen.model_copy(update=update)
    stored = wired.store.put_bytes(
        BucketRole.CAPTURES, canonical_bytes(observation), "application/json", prefix="test"
    )
    with wired.database.transaction() as connection:
        then = datetime(2026, 5, day, tzinfo=UTC)
        captures.note_observation(connection, observation, stored, then)


def manifest_of(wired: Wiring, lead_id: str) -> Manifest:
    with wired.database.transaction() as connection:
        stored = casebook.current_facts(connection, lead_id).manifest
    return parse_canonical(Manifest, wired.store.read(stored))


def used(wired: Wiring, lead_id: str) -> tuple[ModelUsed, str]:
    """The version that a lead's manifest names, and the observation in its package."""
    manifest = manifest_of(wired, lead_id)
    [model] = [one for one in manifest.models if one.name == MODEL]
    [item] = [
        one
        for one in manifest.of_kind(EvidenceKind.OBSERVATION)
        if one.item_id == f"observation-{MODEL}"
    ]
    return model, parse_canonical(Observation, wired.store.read(item.object)).model_digest


def screened_out(wired: Wiring, lead_id: str) -> None:
    """An analyst takes the lead and decides."""
    now = wired.clock()
    with wired.database.transaction() as connection:
        claimed = lifecycle.claim(casebook.load_case(connection, lead_id), ANALYST, now)
        taken = casebook.take(connection, casebook.load_case(connection, lead_id), claimed)
        verdict = lifecycle.TriageVerdict.NOT_A_VIOLATION
        reason = lifecycle.TriageReason.LAWFUL_ACTIVITY
        step = lifecycle.triage(taken, ANALYST, verdict, reason, "", now)
        casebook.take(connection, taken, step)


@pytest.fixture
def person_seen_once(wired: Wiring, short: Path, quiet: Path, tmp_path: Path) -> str:
    """A capture in which an old version of the model saw a person, and today's sees none."""
    evening = tmp_path / "evening_20260601T200000Z.mp4"
    shutil.copy(short, evening)
    seen = seen_by_today(wired, ingest_file(wired, evening, FEED).capture_id)
    result = ingest_file(wired, quiet, FEED)
    assert result.leads == ()
    look_earlier(wired, result.capture_id, seen, OLD, "c0ffee00" + "0" * 56, day=2)
    nothing = seen.model_copy(update={"tracks": ()})
    look_earlier(wired, result.capture_id, nothing, OLD, "c0ffee11" + "0" * 56, day=1)
    return result.capture_id


BEGUN = datetime(2026, 6, 1, 8, tzinfo=UTC)
QUIET = BEGUN, BEGUN + timedelta(seconds=5)
"""Holds the quiet capture and no other."""


def test_a_pinned_model_counts_with_what_it_saw_whatever_todays_sees(
    wired: Wiring, person_seen_once: str
) -> None:
    before = leads(wired)
    assert backfill(FEED, *QUIET).raised == ()
    pin = ModelPin.parse(f"{MODEL}@{OLD[:8]}")
    done = backfill(FEED, *QUIET, models=[pin])
    assert done.models == {f"{MODEL}@{OLD}/c0ffee00{'0' * 56}": 1}, "the one that looked last"
    [lead_id] = done.raised
    model, observed = used(wired, lead_id)
    assert (model.digest, observed) == (OLD, OLD)
    assert len(leads(wired)) == len(before) + 1


def test_a_pin_may_name_the_configuration_too(wired: Wiring, person_seen_once: str) -> None:
    pin = ModelPin.parse(f"{MODEL}@{OLD[:8]}/c0ffee11")
    done = backfill(FEED, *QUIET, models=[pin])
    assert done.raised == ()
    assert done.models == {f"{MODEL}@{OLD}/c0ffee11{'0' * 56}": 1}


def test_what_is_decided_under_a_pin_stays_and_nothing_is_raised_twice(
    wired: Wiring, person_seen_once: str
) -> None:
    pin = ModelPin.parse(f"{MODEL}@{OLD}")
    [lead_id] = backfill(FEED, *QUIET, models=[pin]).raised
    with wired.database.transaction() as connection:
        facts = casebook.current_facts(connection, lead_id)
    with wired.database.transaction() as connection:
        case = casebook.load_case(connection, lead_id)
    screened_out(wired, lead_id)
    for models in ([pin], [], [pin]):
        assert backfill(FEED, *QUIET, models=models).raised == ()
    with wired.database.transaction() as connection:
        assert casebook.load_case(connection, lead_id).state is CaseState.SCREENED_OUT
        assert casebook.current_facts(connection, lead_id) == facts
        assert casebook.load_case(connection, lead_id).evidence_digest == case.evidence_digest


def test_a_lead_left_unsealed_is_sealed_with_what_it_rests_on(
    wired: Wiring, person_seen_once: str
) -> None:
    """The process ended in between, and the ordinary way or another pin comes along first."""
    today = {key[0]: key for key in keys_of(wired.cascade_for(wired.catalog.feed(FEED)))}
    old = {**today, MODEL: (MODEL, OLD, "c0ffee00" + "0" * 56)}
    [lead_id] = correlate.correlate(person_seen_once, keys=list(old.values()))
    other = {**today, MODEL: (MODEL, OLD, "c0ffee11" + "0" * 56)}
    assert seal.seal_capture(person_seen_once, list(other.values())) == [lead_id]
    model, observed = used(wired, lead_id)
    assert (model.digest, model.config_digest, observed) == (OLD, "c0ffee00" + "0" * 56, OLD)


def test_a_version_that_is_neither_stored_nor_installed_is_refused_before_anything_is_done(
    wired: Wiring, person_seen_once: str
) -> None:
    def noted() -> tuple[object, ...]:
        with wired.database.transaction() as connection:
            versions = captures.versions_of_feed(connection, FEED)
        return versions, leads(wired)

    before = noted()
    with pytest.raises(ModelError) as refused:
        backfill(FEED, *DAY, models=[ModelPin.parse(f"{MODEL}@deadbeef")])
    said = str(refused.value)
    assert "has not looked at 2 of 2 captures" in said
    assert f"installed is {MODEL}@{key_of(wired)[1][:12]}" in said
    assert f"{MODEL}@{OLD[:12]}/c0ffee000000 (1 captures, 2026-06-01 08:00" in said
    # It looked at one of the two: that is not enough.
    with pytest.raises(ModelError, match="has not looked at 1 of 2 captures"):
        backfill(FEED, *DAY, models=[ModelPin.parse(f"{MODEL}@{OLD}")])
    assert noted() == before


def test_the_installed_version_may_be_pinned_and_looks_where_it_has_not(
    wired: Wiring, short: Path
) -> None:
    feed = wired.catalog.feed(FEED)
    filed, _ = pull.file_arrival(wired, feed, pull.Arrival(short, short.name, BEGUN))
    today = key_of(wired)
    done = backfill(FEED, *DAY, models=[ModelPin.parse(f"{MODEL}@{today[1][:8]}")])
    assert len(done.raised) == 1
    assert done.models == {f"{MODEL}@{today[1]}/{today[2]}": 1}
    with wired.database.transaction() as connection:
        assert today in captures.observation_objects(connection, filed)
    with pytest.raises(ModelError, match="has not looked at 1 of 1"):
        backfill(FEED, *DAY, models=[ModelPin.parse(f"{MODEL}@{today[1]}/deadbeef")])


def test_pins_that_cannot_be_meant_are_refused(wired: Wiring, person_seen_once: str) -> None:
    for texts, said in (
        ([f"{MODEL}@0ddba11{n}" for n in "01"], "two versions of yolov8n-coco are named"),
        (["no-such-model@12345678"], "no-such-model does not look at feed closed-zone-person"),
    ):
        with pytest.raises(ConfigurationError, match=said):
            backfill(FEED, *QUIET, models=[ModelPin.parse(text) for text in texts])
    for text in ("x", "x@1234567", "x@1234567g", "x@12345678/12", "@12345678", "x@" + "1" * 65):
        with pytest.raises(ConfigurationError, match="write NAME@DIGEST"):
            ModelPin.parse(text)


def test_digits_that_two_versions_share_are_not_enough(
    wired: Wiring, person_seen_once: str
) -> None:
    seen = seen_by_today(wired, person_seen_once)
    twin = OLD[:10] + "f" * 54
    look_earlier(wired, person_seen_once, seen, twin, "c" * 64, day=3)
    with pytest.raises(ConfigurationError, match="give more digits"):
        backfill(FEED, *QUIET, models=[ModelPin.parse(f"{MODEL}@{OLD[:10]}")])
    assert backfill(FEED, *QUIET, models=[ModelPin.parse(f"{MODEL}@{OLD[:11]}")]).captures == 1


def test_a_pinned_rule_may_rest_on_a_model_that_no_longer_looks(
    wired: Wiring, person_seen_once: str
) -> None:
    folder = wired.settings.catalog_folder
    rules = yaml.safe_load((folder / "rules.yaml").read_text("utf-8"))["rules"]
    [first] = [one for one in rules if one["kind"] == "zone_intrusion"]
    newer = first | {"version": 2, "models": [thrown.MODEL]}
    (folder / "newer.yaml").write_text(yaml.safe_dump({"rules": [newer]}), "utf-8")
    wired.__dict__.pop("catalog")
    rule = {first["rule_id"]: 1}
    other = ModelPin.parse(f"{thrown.MODEL}@{key_of(wired, thrown.MODEL)[1]}")
    with pytest.raises(ConfigurationError, match=f"rest on {MODEL}, which no longer looks"):
        backfill(FEED, *QUIET, rule, [other])
    [lead_id] = backfill(FEED, *QUIET, rule, [ModelPin.parse(f"{MODEL}@{OLD}")]).raised
    model, observed = used(wired, lead_id)
    assert (model.digest, observed) == (OLD, OLD)
