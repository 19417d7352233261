"""Missions by REST: who may give one, what is refused, and what holds."""

from typing import Any

import pytest

from enforcement.places import DroneFolder, Feed
from storage.records import missions
from tests.review.stage import Stage

MISSION: dict[str, Any] = {
    "mission_id": "quarry",
    "title": "Round of the quarry",
    "feed_id": "dock",
    "purpose": "illegal dumping",
    "approval": {
        "approval_id": "UAS-7",
        "valid_from": "2026-01-01T00:00:00Z",
        "valid_until": "2027-01-01T00:00:00Z",
        "area": [[31.0, 121.0], [31.1, 121.0], [31.1, 121.1]],
    },
    "schedule": "30 6 * * *",
}


@pytest.fixture(autouse=True)
def dock(stage: Stage) -> None:
    feed = Feed(feed_id="dock", title="Dock", site_id="north-gate", source=DroneFolder(path="d"))
    known = stage.catalog
    stage.catalog = known.model_copy(update={"feeds": (*known.feeds, feed)})


def test_a_mission_that_is_given_is_on_record_and_holds(stage: Stage) -> None:
    client = stage.client("sue")
    first = client.put("/api/v1/missions/quarry", json=MISSION)
    assert (first.status_code, first.json()["version"]) == (201, 1)
    again = client.put("/api/v1/missions/quarry", json=MISSION)
    assert (again.status_code, again.json()["version"]) == (201, 1)
    changed = client.put("/api/v1/missions/quarry", json=MISSION | {"title": "Quarry"})
    assert (changed.status_code, changed.json()["version"]) == (200, 2)
    [listed] = client.get("/api/v1/missions").json()
    assert (listed["mission_id"], listed["title"]) == ("quarry", "Quarry")
    with stage.database.transaction() as connection:
        [held] = missions.given(connection)
    assert held.title == "Quarry"
    page = stage.client("ana").get("/feeds").text
    assert "Quarry" in page


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"feed_id": "gate-cam"}, "no feed of a drone"),
        ({"schedule": "61 6 * * *"}, "schedule"),
        ({"mission_id": "other"}, "the path says quarry"),
        ({"approval": None}, "approval"),
        ({"colour": "red"}, "colour"),
    ],
)
def test_a_mission_that_cannot_be_is_refused_with_the_reason(
    stage: Stage, change: dict[str, Any], reason: str
) -> None:
    answer = stage.client("sue").put("/api/v1/missions/quarry", json=MISSION | change)
    assert answer.status_code == 422
    assert reason in answer.text
    assert stage.client("sue").get("/api/v1/missions").json() == []


def test_a_mission_of_the_catalogs_files_is_changed_there(stage: Stage) -> None:
    from enforcement.missions import Mission

    own = Mission.model_validate(MISSION)
    stage.catalog = stage.catalog.model_copy(update={"missions": (own,)})
    answer = stage.client("sue").put("/api/v1/missions/quarry", json=MISSION | {"title": "x"})
    assert answer.status_code == 422
    assert "change it there" in answer.text


def test_only_supervisors_and_services_give_missions(stage: Stage) -> None:
    for name in ("ana", "olga"):
        answer = stage.client(name).put("/api/v1/missions/quarry", json=MISSION)
        assert answer.status_code == 403
    assert stage.client().put("/api/v1/missions/quarry", json=MISSION).status_code == 401
    assert {one["action"] for one in stage.denials()} == {"give_mission"}


def test_no_version_of_a_mission_is_ever_changed_or_taken_back(stage: Stage) -> None:
    import sqlalchemy as sa

    from enforcement.errors import GateRefusal
    from storage.records import schema

    stage.client("sue").put("/api/v1/missions/quarry", json=MISSION)
    for statement in (
        schema.missions.update().values(version=9),
        schema.missions.delete(),
    ):
        with pytest.raises(GateRefusal), stage.database.transaction() as connection:
            connection.execute(statement)
    with stage.database.transaction() as connection:
        assert connection.scalar(sa.select(schema.missions.c.version)) == 1
