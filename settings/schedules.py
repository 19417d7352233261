"""When a mission is to be flown: its schedule as moments.

Five cron fields are read in the zone of the mission's conventions, or in UTC. Where clocks go
forward, a time that is left out comes right after the change. Where they go back, a time that is
there twice is one turn, the first, unless the schedule goes on through every hour.
"""

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from croniter import croniter

from enforcement.missions import Mission

_INSTANT = timedelta(microseconds=1)
_SOME_DAY = datetime(2000, 1, 1, tzinfo=UTC)
"""From here on every schedule that ever comes has a turn within the decades that are searched."""
_CHANCE = re.compile(r"(?:^|[\s,])[RrHh](?:[\s,(/]|$)")
"""Croniter's R and H stand for a random minute and one made of a name: no schedule of a flight."""
_EVERY_HOUR = ["*"]


def next_turn(mission: Mission, now: datetime) -> datetime | None:
    """The first turn after this moment, aware UTC; None for a mission without a schedule.

    Raises ValueError for a schedule that ``problem`` names.
    """
    return next(_turns(mission, now, back=False), None)


def last_turn(mission: Mission, now: datetime) -> datetime | None:
    """The last turn before this moment or at it; as ``next_turn``."""
    return next(_turns(mission, now + _INSTANT, back=True), None)


def problem(schedule: str) -> str | None:
    """Why five fields are no schedule, in words; None if they are one."""
    if _CHANCE.search(schedule):
        return "R and H are left to chance"
    try:
        croniter(schedule, _SOME_DAY).get_next(datetime)
    except ValueError as error:
        return str(error)
    return None


def _turns(mission: Mission, start: datetime, *, back: bool) -> Iterator[datetime]:
    """Turns after ``start``, or before it, the nearest first."""
    if mission.schedule is None:
        return
    zone = ZoneInfo(mission.conventions.time_zone or "UTC")
    turns = croniter(mission.schedule, start.astimezone(zone))
    is_hourly = turns.expanded[1] == _EVERY_HOUR
    while True:
        turn = (turns.get_prev if back else turns.get_next)(datetime)
        if is_hourly or not _is_repeated(turn):
            yield turn.astimezone(UTC)


def _is_repeated(local: datetime) -> bool:
    """Whether the clock has shown this time of this day before."""
    return local.fold == 1 and local.utcoffset() != local.replace(fold=0).utcoffset()
