"""A case of what is new on the ground between two flights of stills: pictures, nothing to play."""

from datetime import timedelta

import pytest

from enforcement.evidence import CaseFacts, EvidenceItem, EvidenceKind, Manifest, Place
from storage.canonical import canonical_bytes
from storage.records import captures, casebook
from tests.review.stage import RULE, START, Stage, picture

BEFORE, AFTER = START - timedelta(days=1), START - timedelta(minutes=5)


def sealed(stage: Stage) -> str:
    """A lead of stills as the pipeline seals it; returns its id."""
    lead_id = "lead-of-stills"
    lead, given, capture = stage.package(lead_id)

    def item(item_id: str, kind: EvidenceKind, number: int, **more: object) -> EvidenceItem:
        return EvidenceItem.model_validate(
            {
                "item_id": item_id, "kind": kind, "made_by": "sightline.test@1",
                "object": stage._put(picture(float(number)), "image/jpeg"), **more,
            }
        )  # fmt: skip

    def seen(item_id: str, origin: str, number: int, drawn: str) -> EvidenceItem:
        taken_at = (AFTER if origin == "original" else BEFORE).isoformat()
        moment = 0.0 if origin == "original" else None
        return item(
            item_id, EvidenceKind.KEY_FRAME, number, derived_from=origin, start_s=moment,
            end_s=moment, parameters={"drawn": drawn, "taken_at": taken_at},
        )  # fmt: skip

    items = (
        item("original", EvidenceKind.ORIGINAL, 1),
        item("before", EvidenceKind.FURTHER_ORIGINAL, 2),
        seen("ground-before", "before", 3, "from_above"),
        seen("ground-after", "original", 4, "from_above"),
        seen("alarm", "original", 5, "plain"),
        seen("alarm-marked", "original", 6, "marked"),
    )
    manifest = Manifest.model_validate(given.model_copy(update={"items": items}).model_dump())
    facts = CaseFacts(
        lead_id=lead_id, revision=1, rule_id=RULE.rule_id, rule_version=1, matter="dumping",
        manifest=stage._put(canonical_bytes(manifest), "application/json"),
        place=Place(site_id="north-gate"), device_status="valid", confirmations_required=2,
    )  # fmt: skip
    with stage.database.transaction() as connection:
        captures.file_capture(connection, capture)
        casebook.raise_lead(connection, lead)
        casebook.open_case(connection, facts, stage.clock())
    return lead_id


@pytest.fixture
def page(stage: Stage) -> str:
    answer = stage.browser("ana").get(f"/leads/{sealed(stage)}")
    assert answer.status_code == 200
    return answer.text


def test_its_page_shows_the_ground_before_and_after_with_both_times(page: str) -> None:
    before, after = page.index("/evidence/ground-before"), page.index("/evidence/ground-after")
    assert before < after
    for moment, place in ((BEFORE, before), (AFTER, after)):
        assert f"{moment:%Y-%m-%d %H:%M:%S}" in page[place : place + 600]


def test_there_is_nothing_to_play_or_to_seek(page: str) -> None:
    assert "<video" not in page
    assert "player.js" not in page
    assert "data-seek" not in page


def test_a_still_tells_its_moment_and_no_second_of_a_film(page: str) -> None:
    place = page.index("/evidence/alarm-marked")
    assert f"{AFTER:%Y-%m-%d %H:%M:%S}" in page[place : place + 600]
    assert "0.00 s" not in page
