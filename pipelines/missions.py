"""Missions: take in the files of drone flights, and close each flight once it is complete.

Files are filed as they come and held back. When all of a flight have come, or its grace time has
passed, its positions are held against the approval: what that covers is released to be looked at
and compared, the rest is refused with a reason and stays where it is, as received.
"""

import hashlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import lru_cache
from itertools import groupby
from operator import attrgetter
from pathlib import PurePosixPath
from zoneinfo import ZoneInfo

from enforcement.errors import (
    BadTelemetry,
    ConfigurationError,
    CredentialsRefused,
    SightlineError,
    StepsFailed,
)
from enforcement.flights import AircraftPose, TelemetryConventions
from enforcement.footage import Capture
from enforcement.missions import (
    Completeness,
    Flight,
    FlightKey,
    FlightState,
    Mission,
    completeness,
    counted,
    file_kind,
    refusal,
)
from enforcement.places import DroneBucket, DroneFolder, Feed
from feeds.flight_files import FlightFile, fetched, flight_files
from feeds.folder import dropped_file, time_in_name
from feeds.telemetry import TELEMETRY_SUFFIXES, read_telemetry
from pipelines.pull import Arrival, file_arrival
from pipelines.wiring import Wiring, wire
from settings.secrets import Secrets
from storage.records import captures, flights

_LOG = logging.getLogger("sightline.missions")
_NO_MISSION = "the catalog has no mission {mission_id} of feed {feed_id}"
_NO_TELEMETRY = "no telemetry lies beside it"


def pull_flights(wiring: Wiring, feed: Feed, source: DroneFolder | DroneBucket) -> list[str]:
    """File all files of flights that are new; returns the ids of new captures.

    Files that a flight of no mission brought are filed, too. A flight that was closed is looked
    into for ``feed.reopens_s`` after its last file; what is put there later is not taken in. What
    belongs to no flight is recorded for those who look after the feed. Raises StepsFailed at the
    end for files that could not be fetched, CredentialsRefused at once.
    """
    source = wiring.located(source) if isinstance(source, DroneFolder) else source
    secrets = Secrets()
    done = _done(wiring, feed)
    listing = flight_files(source, wiring.clock(), secrets, lambda *flight: flight in done)
    _note_strays(wiring, feed, listing.stray)
    new: list[str] = []
    failed: list[str] = []
    for (mission_id, flight_id), files in groupby(listing.files, attrgetter(*_FLIGHT)):
        key = FlightKey(feed.feed_id, mission_id, flight_id)
        with wiring.database.transaction() as connection:
            known = flights.filed(connection, key)
        for file in files:
            if (file.name, file.size, file.modified_at) in known:
                continue
            try:
                new += _file(wiring, feed, key, file, source, secrets)
            except CredentialsRefused:
                raise
            except SightlineError as error:
                failed.append(f"{file.origin}: {error}")
    if failed:
        raise StepsFailed(f"{feed.feed_id}: {len(new)} new files; left out: " + "; ".join(failed))
    return new


_FLIGHT = "mission_id", "flight_id"


def _file(
    wiring: Wiring, feed: Feed, key: FlightKey, file: FlightFile,
    source: DroneFolder | DroneBucket, secrets: Secrets,
) -> list[str]:  # fmt: skip
    """File one file of a flight; returns its capture id if that is new."""
    with wiring.work_folder() as folder, fetched(source, file, folder, secrets) as path:
        arrival = Arrival(
            path,
            f"{file.mission_id}/{file.flight_id}/{file.name}",
            _taken_at(wiring, key, file, dropped_file(path, wiring.clock()).captured_at),
        )
        capture_id, is_new = file_arrival(wiring, feed, arrival, held=True)
    with wiring.database.transaction() as connection:
        flights.note_file(
            connection, key, file.name, file.size, file.modified_at, capture_id, wiring.clock()
        )
    return [capture_id] if is_new else []


def _done(wiring: Wiring, feed: Feed) -> set[tuple[str, str]]:
    """Flights, by mission, that are not looked into any more."""
    since = wiring.clock() - timedelta(seconds=feed.reopens_s)
    with wiring.database.transaction() as connection:
        return flights.closed_before(connection, feed.feed_id, since)


def _note_strays(wiring: Wiring, feed: Feed, lines: Sequence[str]) -> None:
    for line in lines:
        _warn_of_stray(feed.feed_id, line)
    with wiring.database.transaction() as connection:
        flights.note_strays(connection, feed.feed_id, lines, wiring.clock())


@lru_cache(maxsize=10_000)
def _warn_of_stray(feed_id: str, line: str) -> None:
    """Once in a process: a sweep finds the same every minute."""
    _LOG.warning("%s: %s", feed_id, line)


def _taken_at(wiring: Wiring, key: FlightKey, file: FlightFile, guess: datetime) -> datetime:
    """When a file was taken, by its name in the mission's own time zone where it states one."""
    mission = _mission(wiring, key)
    zone = None if mission is None else mission.conventions.time_zone
    if zone is None:
        return guess
    return time_in_name(PurePosixPath(file.name).name, ZoneInfo(zone)) or guess


def due_flights() -> list[list[str]]:
    """Flights that are awaited, and those of which something was refused and whose mission has
    changed since."""
    wiring = wire()
    with wiring.database.transaction() as connection:
        found = flights.open_to_judgement(connection)
    return [
        list(flight.key)
        for flight in found
        if flight.state is FlightState.AWAITED
        or flight.mission_digest != _digest(_mission(wiring, flight.key))
    ]


def close_all(keys: Sequence[Sequence[str]]) -> list[str]:
    """Close what can be closed; returns the flights that were accepted, as ``mission/flight``.

    Raises StepsFailed at the end for those that could not be judged.
    """
    accepted: list[str] = []
    failed: list[str] = []
    for feed_id, mission_id, flight_id in keys:
        try:
            flight = close_flight(FlightKey(feed_id, mission_id, flight_id))
        except SightlineError as error:
            failed.append(f"{mission_id}/{flight_id}: {error}")
            continue
        if flight.state is FlightState.ACCEPTED:
            accepted.append(f"{mission_id}/{flight_id}")
    if failed:
        raise StepsFailed(f"{len(failed)} of {len(keys)} flights: " + "; ".join(failed))
    return accepted


def close_flight(key: FlightKey) -> Flight:
    """Judge a flight whose files have come, or whose grace time has passed; returns it as it
    stands then. One that is still awaited stays so."""
    wiring = wire()
    mission, now = _mission(wiring, key), wiring.clock()
    with wiring.database.transaction() as connection:
        flight = flights.load(connection, key)
        files = flights.files_of(connection, key)
        firsts = {file: flights.flight_of(connection, file.capture_id) for file in files}
        dock = flights.dock_counts(connection, key)
    change: dict[str, object] = {"closed_at": now, "mission_digest": _digest(mission)}
    if mission is None:
        reason = _NO_MISSION.format(**key._asdict())
        change |= {"state": FlightState.REFUSED, "refused": {file.name: reason for file in files}}
        return _close(wiring, flight, change)
    names = [file.name for file in files]
    how = completeness(mission, counted(names), flight.last_file_at, now, dock)
    if how is Completeness.AWAITED:
        return flight
    change["overdue"] = how is Completeness.OVERDUE
    if all(first is not None and first[0] != key for first in firsts.values()):
        return _close(wiring, flight, change | {"state": FlightState.REPEATED})
    return _close(wiring, flight, change | _judged_all(wiring, mission, flight, files))


def _judged_all(
    wiring: Wiring, mission: Mission, flight: Flight, files: Sequence[flights.FlightFile]
) -> dict[str, object]:
    """Release what the approval covers; what became of the flight."""
    verdicts = {file: _judged(wiring, mission, file, files) for file in files}
    if flight.state is FlightState.ACCEPTED:
        # What was released is not called back because the next approval begins later.
        verdicts = {
            file: verdict if file.name in flight.refused else replace(verdict, refusal=None)
            for file, verdict in verdicts.items()
        }
    refused = {file.name: one.refusal for file, one in verdicts.items() if one.refusal is not None}
    good = [(file, one) for file, one in verdicts.items() if one.refusal is None and one.is_footage]
    with wiring.database.transaction() as connection:
        for file, _ in good:
            if file_kind(file.name) == "videos":
                captures.release(connection, captures.load_capture(connection, file.capture_id))
    return {
        "state": FlightState.ACCEPTED if good else FlightState.REFUSED,
        "refused": refused or ({} if good else {"": "no footage came"}),
        "began_at": min((one.began_at for _, one in good), default=None),
    }


def _close(wiring: Wiring, flight: Flight, change: dict[str, object]) -> Flight:
    closed = Flight.model_validate(flight.model_dump() | change)
    with wiring.database.transaction() as connection:
        flights.close(connection, closed)
    return closed


@dataclass(frozen=True)
class _Verdict:
    """What is known of one file of a flight."""

    began_at: datetime
    is_footage: bool
    refusal: str | None = None


def _judged(
    wiring: Wiring,
    mission: Mission,
    file: flights.FlightFile,
    files: Sequence[flights.FlightFile],
) -> _Verdict:
    with wiring.database.transaction() as connection:
        capture = captures.load_capture(connection, file.capture_id)
    is_footage = file_kind(file.name) in {"videos", "stills"}
    if not is_footage:
        return _Verdict(capture.began_at, False)
    beside = _telemetry_of(file, files)
    if beside is None:
        return _Verdict(capture.began_at, True, _NO_TELEMETRY)
    try:
        poses = _poses(wiring, beside, mission)
    except BadTelemetry as error:
        return _Verdict(capture.began_at, True, str(error))
    moments = [pose.moment for pose in poses if pose.moment is not None]
    began_at = min(moments, default=capture.began_at)
    return _Verdict(began_at, True, refusal(poses, mission.approval))


def poses_of(wiring: Wiring, capture: Capture) -> tuple[AircraftPose, ...]:
    """Where the aircraft was while this footage was taken, in the order of time.

    Raises BadTelemetry without telemetry that can be read, ConfigurationError if the capture is of
    no mission of the catalog.
    """
    with wiring.database.transaction() as connection:
        found = flights.flight_of(connection, capture.capture_id)
        files = () if found is None else flights.files_of(connection, found[0])
    mission = None if found is None else _mission(wiring, found[0])
    if found is None or mission is None:
        raise ConfigurationError(f"{capture.source_name} was taken on no mission of the catalog")
    beside = _telemetry_of(flights.FlightFile(found[1], capture.capture_id), files)
    if beside is None:
        raise BadTelemetry(f"{capture.source_name}: {_NO_TELEMETRY}")
    return _poses(wiring, beside, mission)


def telemetry_of(wiring: Wiring, capture: Capture) -> Capture | None:
    """The capture that holds the positions of this footage, if they lie in a file beside it."""
    with wiring.database.transaction() as connection:
        found = flights.flight_of(connection, capture.capture_id)
        files = () if found is None else flights.files_of(connection, found[0])
        own = flights.FlightFile("" if found is None else found[1], capture.capture_id)
        beside = _telemetry_of(own, files)
        if beside is None or beside.capture_id == capture.capture_id:
            return None
        return captures.load_capture(connection, beside.capture_id)


def _telemetry_of(
    file: flights.FlightFile, files: Sequence[flights.FlightFile]
) -> flights.FlightFile | None:
    """The file with the positions of another: beside it under its name, or itself."""
    stem = PurePosixPath(file.name).with_suffix("")
    for other in files:
        path = PurePosixPath(other.name)
        if file_kind(other.name) == "telemetry" and path.with_suffix("") == stem:
            return other
    return file if PurePosixPath(file.name).suffix.lower() in TELEMETRY_SUFFIXES else None


def _poses(wiring: Wiring, file: flights.FlightFile, mission: Mission) -> tuple[AircraftPose, ...]:
    return _poses_read(wiring, file, mission.conventions)


@lru_cache(maxsize=64)
def _poses_read(
    wiring: Wiring, file: flights.FlightFile, conventions: TelemetryConventions
) -> tuple[AircraftPose, ...]:
    """Stored bytes never change, and every finding of a flight asks for the same ones."""
    with wiring.database.transaction() as connection:
        capture = captures.load_capture(connection, file.capture_id)
    with wiring.work_folder() as folder:
        path = folder / f"telemetry{PurePosixPath(file.name).suffix.lower()}"
        wiring.store.fetch(capture.object, path)
        return read_telemetry(path, conventions).poses


def _mission(wiring: Wiring, key: FlightKey) -> Mission | None:
    for mission in wiring.missions:
        if (mission.mission_id, mission.feed_id) == (key.mission_id, key.feed_id):
            return mission
    return None


def _digest(mission: Mission | None) -> str | None:
    """What a flight was held against; another one judges it anew."""
    if mission is None:
        return None
    return hashlib.sha256(mission.model_dump_json().encode()).hexdigest()
