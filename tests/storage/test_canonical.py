"""Canonical JSON: one byte string for one record, and no other reading of those bytes."""

import hashlib
import json
import math
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field

from enforcement.errors import EvidenceError
from enforcement.evidence import CaseFacts, EvidenceKind, Manifest
from enforcement.footage import StoredObject
from enforcement.geometry import Box
from enforcement.model import Record, Utc
from storage.canonical import canonical_bytes, parse_canonical, sha256_file, sha256_hex


class Sample(Record):
    text: str = ""
    number: float = 0.0
    count: int = 0
    moment: Utc = datetime(2026, 11, 24, tzinfo=UTC)
    box: Box = Box(0, 0, 1, 1)
    values: dict[str, float | int | str | bool] = Field(default_factory=dict)
    nested: tuple["Sample", ...] = ()


text = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
number = st.floats(allow_nan=False, allow_infinity=False)
count = st.integers(-(2**53) + 1, 2**53 - 1)
fraction = st.floats(0, 1)
leaf = st.builds(
    Sample,
    text=text,
    number=number,
    count=count,
    moment=st.datetimes(timezones=st.just(UTC)),
    box=st.builds(Box, fraction, fraction, fraction, fraction),
    values=st.dictionaries(text, number | count | text | st.booleans(), max_size=4),
)
sample = st.builds(
    lambda record, inner: record.model_copy(update={"nested": inner}),
    leaf,
    st.lists(leaf, max_size=2).map(tuple),
)


@given(sample)
def test_a_record_comes_back_equal_and_with_the_same_bytes(record: Sample) -> None:
    data = canonical_bytes(record)
    again = parse_canonical(Sample, data)
    assert again == record
    assert canonical_bytes(again) == data


@given(sample)
def test_only_one_form_of_the_same_json_is_accepted(record: Sample) -> None:
    data = canonical_bytes(record)
    spaced = json.dumps(json.loads(data), ensure_ascii=False, indent=1).encode()
    with pytest.raises(EvidenceError):
        parse_canonical(Sample, spaced)
    with pytest.raises(EvidenceError):
        parse_canonical(Sample, data + b"\n")


def test_keys_numbers_and_text_follow_rfc_8785() -> None:
    class Example(Record):
        values: dict[str, float | int | str | bool]

    record = Example(
        values={
            "\u20ac": 333333333.33333329,
            "\r": 1e30,
            "1": 4.50,
            "\u00f6": 2e-3,
            "\U0001f600": 1e-27,
        }
    )
    expected = (
        '{"values":{"\\r":1e+30,"1":4.5,"\u00f6":0.002,"\u20ac":333333333.3333333,'
        '"\U0001f600":1e-27}}'
    )
    assert canonical_bytes(record) == expected.encode()


@pytest.mark.parametrize(
    "record",
    [
        Sample(number=math.nan),
        Sample(number=math.inf),
        Sample(values={"x": -math.inf}),
        Sample(count=2**53),
        Sample(text="\ud800"),
        Sample(values={"\udfff": 1}),
    ],
)
def test_what_has_no_canonical_form_is_refused(record: Sample) -> None:
    with pytest.raises(EvidenceError, match="no canonical form"):
        canonical_bytes(record)


@pytest.mark.parametrize(
    ("data", "match"),
    [
        (b'{"count":1,"count":1}', "same key twice"),
        (b'{"nested":[{"count":1,"count":2}]}', "same key twice"),
        (b'{"c\\u006funt":1,"count":2}', "same key twice"),
        (b'{"number":NaN}', "NaN"),
        (b'{"number":-Infinity}', "-Infinity"),
        (b'{"number":1e999}', "canonical"),
        (b'{"number":1.0}', "canonical form"),
        (b'{"text":"a","count":1}', "canonical form"),
        (b'\xef\xbb\xbf{"count":1}', "canonical"),
        (b'{"text":"\xff"}', "canonical"),
        (b"", "canonical"),
        (b"[" * 100_000, "canonical"),
        (b'{"offender":1}', "does not fit: offender"),
        (b'{"count":"x"}', "does not fit: count"),
    ],
)
def test_bytes_with_a_second_reading_are_refused(data: bytes, match: str) -> None:
    with pytest.raises(EvidenceError, match=match):
        parse_canonical(Sample, data)


def test_the_digest_of_a_file_is_that_of_its_bytes(tmp_path: Path) -> None:
    data = bytes(range(256)) * 20_000
    (tmp_path / "file").write_bytes(data)
    assert sha256_file(tmp_path / "file") == sha256_hex(data) == hashlib.sha256(data).hexdigest()


OBJECT = StoredObject(
    bucket="b", key="k", version_id="v", sha256="0" * 64, size=1, media_type="video/mp4"
)


def facts(**changes: object) -> CaseFacts:
    return CaseFacts.model_validate(
        {
            "lead_id": "lead-1",
            "revision": 1,
            "manifest": OBJECT.model_dump(),
            "rule_id": "no-dumping",
            "rule_version": 1,
            "matter": "bags put down outside the collection point",
            "party": "",
            "place": {"site_id": "north-gate", "text": ""},
            "device_status": "valid",
            "confirmations_required": 2,
            **changes,
        }
    )


def digest(record: Record) -> str:
    return sha256_hex(canonical_bytes(record))


@pytest.mark.parametrize(
    "change",
    [
        {"lead_id": "lead-2"},
        {"revision": 2},
        {"manifest": OBJECT.model_copy(update={"version_id": "w"}).model_dump()},
        {"manifest": OBJECT.model_copy(update={"sha256": "1" * 64}).model_dump()},
        {"rule_id": "no-stopping"},
        {"rule_version": 2},
        {"matter": "something else"},
        {"party": "Shop 12"},
        {"place": {"site_id": "south-gate", "text": ""}},
        {"place": {"site_id": "north-gate", "text": "left of the gate"}},
        {"device_status": "invalid"},
        {"confirmations_required": 1},
        {"seeded": True},
    ],
)
def test_any_change_of_the_facts_changes_the_evidence_digest(change: dict[str, object]) -> None:
    assert digest(facts()) == digest(facts())
    assert digest(facts(**change)) != digest(facts())


@pytest.mark.parametrize("value", [0, -1, "2", True, None, 1.0])
def test_confirmations_required_is_a_whole_number_of_at_least_one(value: object) -> None:
    with pytest.raises(ValueError, match="confirmations_required"):
        facts(confirmations_required=value)


def item(item_id: str, kind: str, derived_from: str | None, **more: object) -> dict[str, object]:
    return {
        "item_id": item_id,
        "kind": kind,
        "object": OBJECT.model_dump(),
        "derived_from": derived_from,
        "made_by": "sightline@0.1.0",
        **more,
    }


COMPLETE = (
    item("original", "original", None),
    item("clip", "clip", "original", start_s=1.0, end_s=4.5),
    item("frame-1", "key_frame", "clip", parameters={"t_s": 2.0, "redacted": True}),
)


def manifest(items: tuple[dict[str, object], ...] = COMPLETE, **changes: object) -> Manifest:
    moment = datetime(2026, 11, 24, 6, 0, tzinfo=UTC)
    return Manifest.model_validate(
        {
            "lead_id": "lead-1",
            "created_at": moment,
            "items": items,
            "provenance": {
                "capture_id": "capture-1",
                "feed_id": "cam-1",
                "site_id": "north-gate",
                "source_name": "a.mp4",
                "captured_at": moment,
                "received_at": moment,
                "clock_offset_s": -1.5,
            },
            "rule_id": "no-dumping",
            "rule_version": 1,
            "rule_digest": "2" * 64,
            "models": [{"name": "m", "digest": "3" * 64, "config_digest": "4" * 64}],
            "alarm_at": moment,
            "finding_box": [0.1, 0.2, 0.3, 0.4],
            "reasons": ["a bag stayed for 60 s"],
            "software_version": "0.1.0",
            **changes,
        }
    )


def test_a_manifest_comes_back_equal_from_its_bytes() -> None:
    assert parse_canonical(Manifest, canonical_bytes(manifest())) == manifest()


def test_the_same_moment_in_another_zone_is_the_same_digest() -> None:
    there = datetime(2026, 11, 24, 14, 0, tzinfo=timezone(timedelta(hours=8)))
    assert digest(manifest(alarm_at=there)) == digest(manifest())


@pytest.mark.parametrize(
    ("items", "match"),
    [
        ((*COMPLETE, item("second", "original", None)), "exactly one original"),
        (
            (item("clip", "telemetry", None), item("c", "clip", "clip"), COMPLETE[2]),
            "exactly one original",
        ),
        ((COMPLETE[0], COMPLETE[1], item("b", "clip", "original")), "one key frame"),
        ((COMPLETE[0], item("f", "key_frame", "original"), item("g", "key_frame", "f")), "clip"),
        ((*COMPLETE, item("clip", "clip", "original")), "same item_id"),
        ((*COMPLETE, item("x", "observation", "nowhere")), "which is not here"),
        ((*COMPLETE, item("x", "clip", "y"), item("y", "clip", "x")), "derived from itself"),
        ((*COMPLETE, item("x", "clip", "x")), "derived from itself"),
        ((*COMPLETE, item("x", "clip", None)), "must name the item"),
        ((item("original", "original", "clip"), *COMPLETE[1:]), "not derived from anything"),
        ((*COMPLETE, item("x", "clip", "original", start_s=2.0, end_s=1.0)), "before start_s"),
        ((*COMPLETE, item("x", "clip", "original", start_s=2.0)), "both a start and an end"),
        ((*COMPLETE, item("x", "clip", "original", made_by="ffmpeg")), "made_by"),
    ],
)
def test_a_manifest_with_a_broken_chain_of_origin_is_refused(
    items: tuple[dict[str, object], ...], match: str
) -> None:
    with pytest.raises(ValueError, match=match):
        manifest(items)


def test_only_a_still_needs_no_clip() -> None:
    still = OBJECT.model_copy(update={"media_type": "image/jpeg"}).model_dump()
    pictures = (item("original", "original", None), item("frame", "key_frame", "original"))
    with pytest.raises(ValueError, match="or on a still"):
        manifest((*pictures, item("frame-2", "key_frame", "original")))
    of_still = (pictures[0] | {"object": still}, *pictures[1:])
    found = manifest((*of_still, item("frame-2", "key_frame", "original")))
    assert found.of_kind(EvidenceKind.CLIP) == ()


OF_READINGS = (
    item("original", "original", None),
    item("original-2", "further_original", None),
    item("readings", "readings", "original"),
    item("trace", "key_frame", "readings"),
)


def test_only_what_rests_on_readings_needs_no_clip_and_no_model() -> None:
    assert manifest(OF_READINGS, models=()).models == ()
    without = tuple(one for one in OF_READINGS if one["kind"] != "readings")
    without = tuple(
        one | {"derived_from": "original"} if one["derived_from"] else one for one in without
    )
    with pytest.raises(ValueError, match="one clip, unless it rests on readings"):
        manifest(without)
    with pytest.raises(ValueError, match="names a model, unless it rests on readings"):
        manifest(models=())
