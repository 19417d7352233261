"""Facts about two flights from their files to findings: the whole way on rendered patrols."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from enforcement.changes import (
    ChangeFinding,
    ChangeOnGround,
    changes_on_ground,
    metres_apart,
)
from enforcement.errors import ConfigurationError
from enforcement.flights import GroundPoint, TelemetryConventions
from enforcement.places import GroundZone, ZonePurpose
from feeds.telemetry.srt import read_srt
from media.patrol_scenes import FlightTruth, PatrolTruth, patrol, render_patrol
from pipelines.cli import app
from pipelines.patrol import FlownVideo, PassChanges, compare_passes, flown_pass


@pytest.fixture(scope="module")
def flown(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, PatrolTruth]:
    folder = tmp_path_factory.mktemp("flown")
    return folder, render_patrol(replace(patrol(1), fps=1.0), folder)


def read(folder: Path, flight: FlightTruth, time_zone: str) -> FlownVideo:
    conventions = TelemetryConventions(time_zone=time_zone)
    data = (folder / flight.telemetry).read_bytes()
    return FlownVideo(folder / flight.video, read_srt(data, flight.telemetry, conventions).poses)


@pytest.fixture(scope="module")
def compared(flown: tuple[Path, PatrolTruth]) -> PassChanges:
    folder, truth = flown
    return compare_passes(
        read(folder, truth.before, truth.time_zone), read(folder, truth.after, truth.time_zone)
    )


def found(compared: PassChanges, truth: PatrolTruth, *, park: bool = True, vehicles: bool = False
          ) -> tuple[ChangeFinding, ...]:  # fmt: skip
    zones = [GroundZone(zone_id="site", purpose=ZonePurpose.NO_DUMPING, polygon=truth.watched)]
    if park:
        zones.append(
            GroundZone(zone_id="park", purpose=ZonePurpose.LAWFUL_USE, polygon=truth.car_park)
        )
    return changes_on_ground(
        ChangeOnGround(vehicles=vehicles), ZonePurpose.NO_DUMPING, zones, compared.changes
    )


def test_a_patrol_gives_one_finding_for_the_heap_within_three_metres(
    flown: tuple[Path, PatrolTruth], compared: PassChanges
) -> None:
    _, truth = flown
    (heap,) = (one for one in truth.changes if one.kind == "heap")
    (finding,) = found(compared, truth)
    off_m = metres_apart(finding.place, heap.place)
    assert off_m <= 3.0
    assert off_m <= finding.radius_m
    before, after = compared.pictures[finding.changes[0]]
    assert before.shape == after.shape


def test_without_the_vehicle_and_the_zone_test_there_would_be_more(
    flown: tuple[Path, PatrolTruth], compared: PassChanges
) -> None:
    _, truth = flown
    assert len(found(compared, truth, vehicles=True)) == 2
    assert len(found(compared, truth, park=False)) > 1


def test_a_flight_without_telemetry_cannot_be_compared(flown: tuple[Path, PatrolTruth]) -> None:
    folder, truth = flown
    before = read(folder, truth.before, truth.time_zone)
    blind = compare_passes(before, replace(before, poses=()))
    assert blind.changes == ()
    assert blind.refusal == "one of the passes has no telemetry"


def test_a_flight_that_looked_at_the_horizon_cannot_be_compared(
    flown: tuple[Path, PatrolTruth],
) -> None:
    folder, truth = flown
    before = read(folder, truth.before, truth.time_zone)
    level = [pose.model_copy(update={"gimbal_pitch_deg": 0.0}) for pose in before.poses]
    assert compare_passes(before, replace(before, poses=level)).refusal is not None


def test_the_command_names_the_heap_and_shows_it_before_and_after(
    flown: tuple[Path, PatrolTruth], tmp_path: Path
) -> None:
    folder, truth = flown
    zones = tmp_path / "zones.json"
    zones.write_text(
        json.dumps(
            [
                {"zone_id": "site", "purpose": "no_dumping", "polygon": truth.watched},
                {"zone_id": "park", "purpose": "lawful_use", "polygon": truth.car_park},
            ]
        )
    )
    flights = [str(folder / one.video) for one in (truth.before, truth.after)]
    asked = ["flights", "compare", *flights, "--zones", str(zones)]
    done = CliRunner().invoke(app, [*asked, "--pictures", str(tmp_path / "p"), "--json"])
    (finding,) = json.loads(done.stdout)
    (heap,) = (one for one in truth.changes if one.kind == "heap")
    assert metres_apart(GroundPoint(*finding["place"]), heap.place) <= 3.0
    assert [path.name for path in (tmp_path / "p").iterdir()] == ["change-01.jpg"]


def test_a_flight_without_telemetry_is_refused_with_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"DJI_0001\.SRT"):
        flown_pass(tmp_path / "DJI_0001.MP4", TelemetryConventions())
