"""A case with the packages of several leads: all are shown, each by one path, under one gate."""

import re
from collections.abc import Callable, Sequence
from typing import Any

import httpx
import pytest

from enforcement.cases import CaseState
from enforcement.evidence import EvidenceItem, EvidenceKind, Manifest
from enforcement.footage import Label
from enforcement.geometry import Box, Point
from enforcement.places import Feed, FolderSource, Zone, ZonePurpose
from storage.canonical import canonical_bytes
from storage.records import captures, casebook, oversight
from tests.review.stage import RULE, SCORE, START, Stage, observation
from tests.review.test_sensor_case import sealed

SECOND = "joined-lead"


def joined(
    stage: Stage,
    lead_id: str,
    second: str = SECOND,
    differs: dict[str, Any] | None = None,
    packed: Callable[[Sequence[EvidenceItem]], Sequence[EvidenceItem]] = tuple,
    **more: Any,
) -> Manifest:
    """Let another lead of footage join a case, as the pipeline does; returns its package.

    ``differs`` are fields of that lead; ``packed`` changes what its package holds.
    """
    lead, manifest, capture = stage.package(second, **more)
    lead = lead.model_copy(update=differs or {})
    manifest = manifest.model_copy(
        update={"items": tuple(packed(manifest.items)), "finding_box": lead.box}
    )
    with stage.database.transaction() as connection:
        facts = casebook.current_facts(connection, lead_id)
        captures.file_capture(connection, capture)
        casebook.raise_lead(connection, lead)
        own = facts.model_copy(
            update={
                "lead_id": lead.lead_id,
                "manifest": stage._put(canonical_bytes(manifest), "application/json"),
                "further": (),
            }
        )
        case = casebook.load_case(connection, lead_id)
        casebook.join_case(connection, case, own, stage.clock())
    return manifest


def test_the_page_and_the_answer_show_both_packages(stage: Stage) -> None:
    lead_id = stage.lead()
    manifest = joined(stage, lead_id, reasons=("it flew for 0.8 s",))
    client = stage.browser("ana")
    page = client.get(f"/leads/{lead_id}").text
    assert "Also of this incident: Object left behind" in page
    assert "it flew for 0.8 s" in page
    assert "the object lies still since 3.0 s" in page
    for item in manifest.items:
        if item.kind is not EvidenceKind.OBSERVATION:
            assert f"/leads/{lead_id}/evidence/2.{item.item_id}" in page, item.item_id
    assert f'<video id="2.clip" src="/leads/{lead_id}/evidence/2.clip"' in page
    assert "Evidence joined" in page
    shown = client.get(f"/api/v1/leads/{lead_id}").json()
    [further] = shown["further"]
    assert (further["number"], further["lead_id"]) == (2, SECOND)
    assert [item["item_id"] for item in further["manifest"]["items"]][:2] == ["original", "clip"]
    client.cookies.set("sightline_language", "zh-Hans")
    page = client.get(f"/leads/{lead_id}").text
    assert "同一事件的其他线索" in page
    assert "证据并入" in page


def test_a_joined_package_is_reached_by_its_number_and_every_view_is_logged(stage: Stage) -> None:
    lead_id = stage.lead()
    manifest = joined(stage, lead_id)
    client = stage.client("ana")
    at = f"/leads/{lead_id}/evidence"
    [clip] = manifest.of_kind(EvidenceKind.CLIP)
    assert client.get(f"{at}/2.clip").content == stage.store.read(clip.object)
    assert client.get(f"{at}/clip").content != client.get(f"{at}/2.clip").content
    for name in ("3.clip", "0.clip", "1.clip", "2.", "2.2.clip", "02.clip", ".clip", "2.nothing"):
        assert client.get(f"{at}/{name}").status_code == 404, name
    assert client.get(f"/leads/{SECOND}/evidence/clip").status_code == 404
    assert client.get(f"/leads/{SECOND}").status_code == 404
    assert client.get(f"/api/v1/leads/{SECOND}/overlay").status_code == 404
    with stage.database.transaction() as connection:
        views = [one.item_id for one in oversight.views(connection, lead_id)]
    assert sorted(views) == ["2.clip", "clip"]


def test_its_scores_stay_hidden_like_those_of_the_first(stage: Stage) -> None:
    lead_id = stage.candidate()
    joined(stage, lead_id)
    officer = stage.client("otto")
    for name in ("observation", "2.observation"):
        answer = officer.get(f"/leads/{lead_id}/evidence/{name}")
        assert answer.status_code == 403, name
    answer = officer.get(f"/api/v1/leads/{lead_id}")
    assert str(SCORE) not in answer.text
    assert "score" not in answer.json()["further"][0]
    page = stage.browser("otto").get(f"/leads/{lead_id}").text
    assert "2.observation</td>" in page
    assert "evidence/2.observation" not in page
    seen = stage.client("sue").get(f"/api/v1/leads/{lead_id}").json()
    assert seen["further"][0]["score"] == SCORE
    assert stage.client("sue").get(f"/leads/{lead_id}/evidence/2.observation").status_code == 200


def test_who_may_not_see_the_case_sees_nothing_of_what_joined(stage: Stage) -> None:
    lead_id = stage.lead()
    joined(stage, lead_id)
    for path in (f"/leads/{lead_id}/evidence/2.clip", f"/api/v1/leads/{lead_id}/overlay?package=2"):
        assert stage.client("otto").get(path).status_code == 403
        assert stage.client().get(path).status_code in (303, 401)
    assert [one["lead_id"] for one in stage.denials()] == [lead_id] * 2


def test_an_officer_confirms_over_a_digest_that_covers_both(stage: Stage) -> None:
    lead_id = stage.candidate()
    otto, olga = stage.client("otto"), stage.client("olga")
    before = otto.get(f"/api/v1/leads/{lead_id}").json()["evidence_digest"]
    assert stage.judge(otto, lead_id).status_code == 200
    joined(stage, lead_id)
    assert stage.case(lead_id).state is CaseState.CANDIDATE
    assert stage.judge(olga, lead_id, evidence_digest=before).status_code == 409
    # Whether somebody had confirmed before is not told by what joined either.
    shown = olga.get(f"/api/v1/leads/{lead_id}").json()
    [event] = [line for line in shown["record"] if line["kind"] == "evidence_joined"]
    assert not {"from_state", "to_state", "version"} & set(event)
    assert shown["verdicts"] == []
    assert stage.judge(olga, lead_id).status_code == 200
    assert stage.judge(otto, lead_id).status_code == 200
    assert stage.case(lead_id).state is CaseState.CONFIRMED


def test_an_analyst_who_looks_at_it_must_load_what_joined(stage: Stage) -> None:
    lead_id = stage.lead()
    client = stage.client("ana")
    at = f"/api/v1/leads/{lead_id}"
    version = client.post(f"{at}/claim", json={"version": 1}).json()["version"]
    joined(stage, lead_id)
    body = {"verdict": "violation", "reason": "as_described", "note": ""}
    assert client.post(f"{at}/triage", json=body | {"version": version}).status_code == 409
    version = client.get(at).json()["version"]
    assert client.post(f"{at}/triage", json=body | {"version": version}).status_code == 200


def with_camera(stage: Stage, lead_id: str) -> None:
    """Give the package of a lead of readings the clip of a camera, before it is shown."""
    with stage.database.transaction() as connection:
        facts = casebook.current_facts(connection, lead_id)
    manifest = Manifest.model_validate_json(stage.store.read(facts.manifest))
    _, footage, _ = stage.package("camera")
    parts = {item.item_id: item for item in footage.items}
    camera = [
        EvidenceItem(
            item_id="camera-1", kind=EvidenceKind.FURTHER_ORIGINAL, made_by="t@1",
            object=parts["original"].object,
        ),
        EvidenceItem(
            item_id="camera-clip", kind=EvidenceKind.CLIP, made_by="t@1", derived_from="camera-1",
            object=parts["clip"].object, start_s=-4.0, end_s=2.0,
        ),
        EvidenceItem(
            item_id="camera-alarm", kind=EvidenceKind.KEY_FRAME, made_by="t@1",
            object=parts["frame-2"].object, derived_from="camera-1", start_s=0.0, end_s=0.0,
        ),
    ]  # fmt: skip
    told = "camera gate-cam, 20 m away, has the place in view; of 300 s it lacks 244 s"
    more = manifest.model_copy(update={"items": (*manifest.items, *camera), "notes": (told,)})
    changed = facts.model_copy(
        update={
            "revision": facts.revision + 1,
            "manifest": stage._put(canonical_bytes(more), "application/json"),
        }
    )
    with stage.database.transaction() as connection:
        casebook.add_facts(connection, changed, START)


def test_a_sensors_case_plays_the_cameras_clip_and_shows_the_trace(stage: Stage) -> None:
    lead_id = sealed(stage)
    with_camera(stage, lead_id)
    client = stage.browser("ana")
    page = client.get(f"/leads/{lead_id}").text
    at = f"/leads/{lead_id}/evidence"
    assert f'<video id="clip" src="{at}/camera-clip"' in page
    assert f'<figure class="trace"><a href="{at}/trace"' in page
    frames = re.findall(r'class="frames">(.*?)</section>', page, re.DOTALL)
    assert len(frames) == 1
    assert "camera-alarm" in frames[0]
    assert "trace" not in frames[0]
    assert "02:30:00 UTC" in frames[0], "the moment itself, not seconds of a batch of messages"
    assert "of 300 s it lacks 244 s" in page
    overlay = client.get(f"/api/v1/leads/{lead_id}/overlay").json()
    assert (overlay["clip_start_s"], overlay["clip_end_s"]) == (-4.0, 2.0)
    assert (overlay["zones"], overlay["finding_box"]) == ([], None)
    assert overlay["received_at"] == "2026-11-20T02:30:00Z"
    client.cookies.set("sightline_language", "zh-Hans")
    page = client.get(f"/leads/{lead_id}").text
    assert "摄像机 gate-cam（相距 20 米）能看到该位置；300 秒中缺少 244 秒画面" in page


def test_the_overlay_of_footage_keeps_its_seconds_its_box_and_its_zones(stage: Stage) -> None:
    overlay = stage.client("ana").get(f"/api/v1/leads/{stage.lead()}/overlay").json()
    assert overlay["received_at"] is None
    assert overlay["finding_box"] is not None
    assert len(overlay["zones"]) == 1


@pytest.mark.parametrize("language", ["en", "zh-Hans"])
def test_a_case_of_readings_that_footage_joined_shows_both(stage: Stage, language: str) -> None:
    lead_id = sealed(stage)
    joined(stage, lead_id)
    client: httpx.Client = stage.browser("ana")
    client.cookies.set("sightline_language", language)
    page = client.get(f"/leads/{lead_id}").text
    at = f"/leads/{lead_id}/evidence"
    assert f'<figure class="trace"><a href="{at}/trace"' in page
    assert f'<video id="2.clip" src="{at}/2.clip" preload="auto"' in page
    assert "player.js" in page
    assert f'data-overlay="/api/v1/leads/{lead_id}/overlay?package=2"' in page
    title = RULE.title.zh if language != "en" else RULE.title.en
    assert page.count(title) >= 3


YARD = Zone(
    zone_id="yard",
    purpose=ZonePurpose.NO_DUMPING,
    polygon=(Point(0.1, 0.1), Point(0.4, 0.1), Point(0.4, 0.4)),
    title="Yard",
)
ELSEWHERE = Box(0.1, 0.2, 0.3, 0.4)


def seen_by_another_camera(stage: Stage, lead_id: str) -> None:
    """Let a lead join a case whose camera, zone, moments, box and tracks are all its own."""
    yard = Feed(
        feed_id="yard-cam",
        title="Yard camera",
        site_id="north-gate",
        source=FolderSource(path="yard"),
        zones=(YARD,),
    )
    stage.catalog = stage.catalog.model_copy(update={"feeds": (*stage.catalog.feeds, yard)})
    whole = observation("capture-yard")
    car = whole.tracks[0].model_copy(update={"label": Label.CAR})
    joined(
        stage,
        lead_id,
        differs={
            "feed_id": "yard-cam",
            "zone_id": "yard",
            "onset_s": 2.0,
            "alarm_at_s": 4.0,
            "end_s": 5.5,
            "box": ELSEWHERE,
        },
        observation=whole.model_copy(update={"tracks": (car,)}),
    )


def test_what_is_drawn_over_a_joined_clip_is_of_its_own_package(stage: Stage) -> None:
    lead_id = stage.candidate()
    at = f"/api/v1/leads/{lead_id}/overlay"
    otto = stage.client("otto")
    before = otto.get(at).json()
    seen_by_another_camera(stage, lead_id)
    first, second = otto.get(at), otto.get(at, params={"package": 2})
    assert first.json() == before == otto.get(at, params={"package": 1}).json()
    shown = second.json()
    assert (shown["onset_s"], shown["alarm_at_s"], shown["end_s"]) == (2.0, 4.0, 5.5)
    assert shown["finding_box"] == [0.1, 0.2, 0.3, 0.4]
    assert [(zone["title"], zone["concerned"]) for zone in shown["zones"]] == [("Yard", True)]
    assert [track["label"] for track in shown["tracks"]] == ["car"]
    assert all(len(point) == 5 for track in shown["tracks"] for point in track["points"])
    assert "score" not in second.text
    assert "0.8125" not in second.text


def test_each_of_many_packages_has_its_own_overlay_and_others_have_none(stage: Stage) -> None:
    lead_id = stage.lead()
    for number in (2, 3):
        joined(stage, lead_id, f"joined-{number}", differs={"onset_s": number / 4})
    client = stage.client("ana")
    at = f"/api/v1/leads/{lead_id}/overlay"
    told = [client.get(at, params={"package": n}).json()["onset_s"] for n in (1, 2, 3)]
    assert told == [1.0, 0.5, 0.75]
    for unknown in (-1, 0, 4, 10**20):
        answer = client.get(at, params={"package": unknown})
        assert answer.status_code == 404, unknown
    assert client.get(at, params={"package": "2.clip"}).status_code == 422


def told_by_sensor(stage: Stage) -> tuple[EvidenceItem, ...]:
    """Readings, and the picture of them."""
    readings = EvidenceItem(
        item_id="readings", kind=EvidenceKind.READINGS, made_by="t@1", derived_from="original",
        object=stage._put(b"{}", "application/json"),
    )  # fmt: skip
    trace = EvidenceItem(
        item_id="trace", kind=EvidenceKind.KEY_FRAME, made_by="t@1", derived_from="readings",
        object=stage._put(b"png", "image/png"),
    )  # fmt: skip
    return readings, trace


def test_a_joined_package_of_readings_has_no_box_and_no_zone_in_a_cameras_view(
    stage: Stage,
) -> None:
    lead_id = stage.lead()
    manifest = joined(stage, lead_id, packed=lambda items: (*items, *told_by_sensor(stage)))
    client = stage.browser("ana")
    shown = client.get(f"/api/v1/leads/{lead_id}/overlay", params={"package": 2}).json()
    assert (shown["zones"], shown["finding_box"]) == ([], None)
    captured_at = manifest.provenance.captured_at
    assert shown["received_at"] == captured_at.strftime("%Y-%m-%dT%H:%M:%SZ")
    page = client.get(f"/leads/{lead_id}").text
    own, further = page.split('class="card package"')
    assert '<label class="switch">' in own
    assert '<label class="switch">' not in further
    assert '<label class="switch" hidden>' in further


def test_a_joined_package_without_a_clip_has_no_player(stage: Stage) -> None:
    lead_id = stage.lead()
    joined(stage, lead_id, packed=lambda items: (items[0], *told_by_sensor(stage)))
    client = stage.browser("ana")
    page = client.get(f"/leads/{lead_id}").text
    assert page.count('class="player"') == 1
    answer = client.get(f"/api/v1/leads/{lead_id}/overlay", params={"package": 2})
    assert answer.status_code == 404


def test_every_clip_of_a_case_has_the_same_player_and_only_the_first_is_fetched_ahead(
    stage: Stage,
) -> None:
    lead_id = stage.lead()
    for number in (2, 3):
        joined(stage, lead_id, f"joined-{number}")
    page = stage.browser("ana").get(f"/leads/{lead_id}").text
    ids = re.findall(r'\sid="([^"]+)"', page)
    assert len(ids) == len(set(ids))
    assert [one for one in ids if one.endswith("clip")] == ["clip", "2.clip", "3.clip"]
    players = re.findall(r'<section class="player".*?</section>', page, re.DOTALL)
    parts = [re.findall(r' class="([^"]+)"', one) for one in players]
    assert len(parts[0]) > 15
    assert parts == parts[:1] * 3
    ahead = [re.findall(r'preload="(\w+)"', one) for one in players]
    assert ahead == [["auto"], ["metadata"], ["metadata"]]
    frames = re.findall(r'/([\d.]*)frame-\d"[^>]* data-clip="([\d.]*)clip" data-seek', page)
    assert frames == [(prefix, prefix) for prefix in ("", "2.", "3.") for _ in range(3)]
