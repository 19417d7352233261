"""Facts about the footage that costs are measured on."""

from collections import Counter
from pathlib import Path

import av
import numpy as np
import pytest

from enforcement.errors import StoreUnavailable
from enforcement.geometry import contains
from enforcement.places import ZonePurpose
from media.bench_scenes import FPS, KEYFRAME_EVERY, Activity, bench_footage, bench_truth
from media.footage import frame_at, probe


@pytest.mark.parametrize(
    ("activity", "dumpings", "stops", "least", "most"),
    [("quiet", 1, 0, 0.01, 0.08), ("normal", 2, 0, 0.13, 0.2), ("busy", 3, 1, 0.7, 0.82)],
)
def test_ten_minutes_are_as_busy_as_their_name(
    activity: Activity, dumpings: int, stops: int, least: float, most: float
) -> None:
    truth = bench_truth(activity)
    families = Counter(event.family for event in truth.events)
    assert (families["dumping"], families["stopped_vehicle"]) == (dumpings, stops)
    assert least <= truth.occupied_share <= most


@pytest.mark.parametrize("activity", ["quiet", "normal", "busy"])
@pytest.mark.parametrize("duration_s", [60.0, 130.0])
def test_short_footage_has_one_event_of_each_kind(activity: Activity, duration_s: float) -> None:
    truth = bench_truth(activity, duration_s)
    assert {event.family for event in truth.events} == (
        {"dumping", "stopped_vehicle"} if activity == "busy" else {"dumping"}
    )
    assert all(5 < event.onset_s < duration_s - 10 for event in truth.events)


def test_the_vehicle_stops_inside_the_zone() -> None:
    truth = bench_truth("busy")
    (stop,) = (event for event in truth.events if event.family == "stopped_vehicle")
    (lane,) = (zone for zone in truth.zones if zone.purpose is ZonePurpose.NO_STOPPING)
    assert stop.box is not None
    assert contains(lane.polygon, stop.box.foot)
    assert stop.end_s is not None
    assert stop.end_s - stop.onset_s >= 15


def test_bench_footage_is_coded_as_promised_and_shows_its_event(tmp_path: Path) -> None:
    path, told = tmp_path / "quiet.mp4", list[float]()
    truth = bench_footage("quiet", path, 60.0, progress=told.append)
    info = probe(path)
    assert (info.width_px, info.height_px, info.codec) == (1280, 720, "h264")
    assert info.fps == pytest.approx(FPS, abs=0.01)
    assert info.duration_s == pytest.approx(60.0, abs=0.1)
    with av.open(str(path)) as container:
        keys = [n for n, p in enumerate(container.demux(video=0)) if p.size and p.is_keyframe]
    assert set(np.diff(keys)) == {KEYFRAME_EVERY}
    assert told == [0.0, 10.0, 20.0, 30.0, 40.0, 50.0]
    (event,) = truth.events
    assert event.box is not None
    window = np.s_[round(event.box.top * 720) : round(event.box.bottom * 720),
                   round(event.box.left * 1280) : round(event.box.right * 1280)]  # fmt: skip
    before, after = (
        frame_at(path, t_s)[window].astype(np.int16) for t_s in (event.onset_s - 8, 59.0)
    )
    assert np.abs(after - before).mean() > 15
    assert [found.name for found in tmp_path.iterdir()] == ["quiet.mp4"]


def test_the_same_footage_comes_out_alike_and_bad_places_leave_nothing(tmp_path: Path) -> None:
    for name in ("one.mp4", "two.mp4"):
        bench_footage("busy", tmp_path / name, 6.0)
    assert (tmp_path / "one.mp4").read_bytes() == (tmp_path / "two.mp4").read_bytes()
    with pytest.raises(StoreUnavailable):
        bench_footage("busy", tmp_path / "missing" / "x.mp4", 1.0)
