"""Missions by REST: for systems that plan flights and obtain their approvals."""

from typing import Annotated

from fastapi import APIRouter, HTTPException, Path, Response

from enforcement.missions import Mission
from enforcement.model import Record
from enforcement.people import Role
from review.sign_in import Acting, AtDesk, SignedIn
from settings.catalog import mission_problems
from storage.records import missions

_READERS = (Role.ANALYST, Role.SUPERVISOR, Role.SERVICE)
_PLANNERS = (Role.SUPERVISOR, Role.SERVICE)

MissionId = Annotated[str, Path(max_length=64)]


class Given(Record):
    """A mission that is on record."""

    mission_id: str
    version: int


def router() -> APIRouter:
    """The routes of this module."""
    routes = APIRouter(prefix="/api/v1/missions", tags=["missions"])

    @routes.get("")
    def listing(desk: AtDesk, visit: SignedIn) -> tuple[Mission, ...]:
        """All missions: those of the catalog, and those that were given here."""
        with desk.refusals_logged(visit.account, "view", None):
            visit.account.require(*_READERS)
        with desk.database.transaction() as connection:
            return desk.catalog.with_missions(missions.given(connection)).missions

    @routes.put("/{mission_id}")
    def give(
        mission_id: MissionId, mission: Mission, desk: AtDesk, visit: Acting, response: Response
    ) -> Given:
        """Give a mission, or a new version of one that was given here.

        Flights that its approval did not cover before are judged anew. Missions of the catalog's
        files are changed there.
        """
        with desk.refusals_logged(visit.account, "give_mission", None):
            visit.account.require(*_PLANNERS)
        catalog = desk.catalog
        problems = mission_problems(catalog, mission)
        if mission.mission_id != mission_id:
            problems.append(f"the path says {mission_id}, the mission {mission.mission_id}")
        if any(one.mission_id == mission_id for one in catalog.missions):
            problems.append(f"mission {mission_id} stands in the catalog's files: change it there")
        if problems:
            raise HTTPException(422, "; ".join(problems))
        with desk.database.transaction() as connection:
            version = missions.give(connection, mission, visit.account.account_id, desk.clock())
        response.status_code = 201 if version == 1 else 200
        return Given(mission_id=mission_id, version=version)

    return routes
