"""Turns: the flights that the schedules of missions ask for, and what came of each.

Light, for the DAG processor reads the schedules all the time.
"""

from datetime import datetime
from typing import NamedTuple

from enforcement.missions import FlightState, is_of_turn
from pipelines.wiring import wire
from storage.records import flights


class Scheduled(NamedTuple):
    """A mission that is flown by the clock."""

    mission_id: str
    title: str
    purpose: str
    cron: str
    time_zone: str
    missed_after_s: float


def scheduled() -> list[Scheduled]:
    """The missions with a schedule; none as long as there is no catalog."""
    wiring = wire()
    if not wiring.settings.catalog_folder.is_dir():
        return []
    return [
        Scheduled(
            mission.mission_id,
            mission.title,
            mission.purpose,
            mission.schedule,
            mission.conventions.time_zone or "UTC",
            mission.missed_after_s,
        )
        for mission in wiring.missions
        if mission.schedule is not None
    ]


def flight_of_turn(mission_id: str, due_at: str) -> str | None:
    """The flight of the turn that was due at this moment (ISO 8601) and how far it has come, once
    it is closed; None as long as none is."""
    wiring = wire()
    due = datetime.fromisoformat(due_at)
    with wiring.database.transaction() as connection:
        for flight in flights.of_mission(connection, mission_id):
            if is_of_turn(flight, due) and flight.state is not FlightState.AWAITED:
                return f"{flight.flight_id} {flight.state}"
    return None
