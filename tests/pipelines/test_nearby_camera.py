"""A lead of a sensor comes with the footage of the nearest camera that sees its place."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from av.video.frame import VideoFrame

from enforcement.evidence import EvidenceItem, EvidenceKind, Manifest
from enforcement.flights import GroundPoint
from enforcement.places import Device, Feed, FolderSource
from media.compositing import View, video_frames
from media.encoding import write_h264
from media.footage import Image, frame_at, frames, probe
from media.localities import TUNING_PLACES
from media.weather import Conditions, Sweep
from pipelines import nearby, pull
from pipelines.verify import verify_all
from storage.records import captures
from storage.seaweed import SeaweedServer
from tests.gate.conftest import postgresql_roles
from tests.pipelines.sensor_site import NIGHT, SensorSite, loud, migrated, sensor_site

pytestmark = pytest.mark.timeout(300)

ALARM = NIGHT + timedelta(minutes=30)
"""Of ``loud(NIGHT, 50)``: the third mean above the limit."""
DUE = NIGHT + timedelta(hours=1, minutes=11)
METER = GroundPoint(31.2, 121.5)
_METRE_NORTH = 1 / 110_870
_FPS = 5.0


@pytest.fixture(params=["sqlite", "postgresql"])
def records(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return migrated([f"sqlite:///{tmp_path / 'records.sqlite'}"] * 3)
    return migrated(postgresql_roles(request.getfixturevalue("postgresql_url")))


@pytest.fixture
def site(
    records: str, s3_server: SeaweedServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[SensorSite]:
    site = sensor_site(tmp_path, records, s3_server, monkeypatch)
    meter = site.wiring.catalog.device("meter-1")
    site.give_devices([meter.model_copy(update={"place": METER})])
    yield site
    site.wiring.database.close()


def north(metres: float) -> GroundPoint:
    return GroundPoint(METER.latitude_deg + metres * _METRE_NORTH, METER.longitude_deg)


def around(centre: GroundPoint, half_m: float = 15) -> tuple[GroundPoint, ...]:
    reach = half_m * _METRE_NORTH
    corners = ((-1, -1), (-1, 1), (1, 1), (1, -1))
    return tuple(
        GroundPoint(centre.latitude_deg + a * reach, centre.longitude_deg + b * reach)
        for a, b in corners
    )


def camera(
    site: SensorSite, name: str, away_m: float | None, looks_at: GroundPoint = METER, **more: Any
) -> Feed:
    """Put up a camera so far north of the meter; None: nobody knows where it stands."""
    mast = Device(
        device_id=f"{name}-mast", title=name, purpose="noise", valid_until=NIGHT + timedelta(9),
        valid_from=NIGHT - timedelta(9), place=None if away_m is None else north(away_m),
    ).model_copy(update=more.pop("device", {}))  # fmt: skip
    site.give_devices([*site.wiring.catalog.devices, mast])
    feed = Feed(
        feed_id=name, title=name, site_id="meter-0", device_id=mast.device_id,
        source=FolderSource(path=name), in_view=around(looks_at),
    ).model_copy(update=more)  # fmt: skip
    site.give(feed)
    return feed


def numbered(number: int) -> Image:
    """A picture that tells its number: eight bars, bright for a one, lowest bit on the left."""
    bars = np.array([210 if number >> bit & 1 else 40 for bit in range(8)], np.uint8)
    return np.repeat(np.repeat(np.repeat(bars, 16)[None, :, None], 96, 0), 3, 2)


def number_in(picture: Image) -> int:
    columns = picture.mean(axis=(0, 2))
    return sum(1 << bit for bit in range(8) if columns[16 * bit + 8] > 125)


def counting(path: Path, first: int, seconds: int) -> Path:
    """Footage whose every second shows its number."""
    stamps = [n / _FPS for n in range(round(seconds * _FPS))]
    pictures = (
        (t, VideoFrame.from_ndarray(numbered(first + int(t)), format="bgr24")) for t in stamps
    )
    write_h264(path, pictures, _FPS)
    return path


def take(
    site: SensorSite, feed: Feed, path: Path, begins_at: datetime, offset_s: float = 0.0
) -> str:
    """File footage that begins then in true UTC, by a clock that is wrong by the offset."""
    by_clock = begins_at - timedelta(seconds=offset_s)
    arrival = pull.Arrival(path, path.name, by_clock, offset_s)
    capture_id, is_new = pull.file_arrival(site.wiring, feed, arrival)
    assert is_new
    return capture_id


def sealed(site: SensorSite) -> Manifest:
    """The package of the one lead that loud readings give."""
    for one in loud(NIGHT, 50):
        site.deliver([one])
    site.sweep(DUE)
    [(lead, _)] = site.queue()
    return site.manifest(lead.lead_id)


@dataclass
class Clip:
    item: EvidenceItem
    path: Path

    def shown_at(self, manifest: Manifest, moment: datetime) -> Image:
        """What the clip shows of a moment in true UTC."""
        received = manifest.provenance.captured_at
        assert self.item.start_s is not None
        return frame_at(self.path, (moment - received).total_seconds() - self.item.start_s)


def the_clip(site: SensorSite, manifest: Manifest) -> Clip:
    [item] = manifest.of_kind(EvidenceKind.CLIP)
    path = site.wiring.settings.home / "clip.mp4"
    path.write_bytes(site.wiring.store.read(item.object))
    return Clip(item, path)


def cameras_of(manifest: Manifest) -> list[str]:
    return [
        str(item.parameters["feed_id"])
        for item in manifest.of_kind(EvidenceKind.FURTHER_ORIGINAL)
        if "feed_id" in item.parameters
    ]


@pytest.fixture(scope="module")
def night(tmp_path_factory: pytest.TempPathFactory) -> Sequence[Path]:
    """A street by night in two segments of 30 s, as a recorder cuts them."""
    folder = tmp_path_factory.mktemp("night")
    place = TUNING_PLACES[0]
    conditions = Conditions(
        daytime="night", noise=5.0, headlights=(Sweep(12.0, 18.0, -16, 14, 15.0),)
    )
    stream = video_frames(place, (), conditions, View(320, 180), seed=4, fps=_FPS, duration_s=60.0)
    pictures = list(stream)
    half = len(pictures) // 2
    paths = [folder / "1.mp4", folder / "2.mp4"]
    write_h264(paths[0], pictures[:half], _FPS)
    write_h264(paths[1], [(t_s - 30.0, frame) for t_s, frame in pictures[half:]], _FPS)
    return paths


def test_noise_at_night_before_a_camera_is_one_incident_with_its_trace_and_its_clip(
    site: SensorSite, night: Sequence[Path]
) -> None:
    yard = camera(site, "yard-cam", 20)
    begins = ALARM - timedelta(seconds=50)
    for number, path in enumerate(night):
        take(site, yard, path, begins + timedelta(seconds=30 * number))
    manifest = sealed(site)
    assert [item.item_id for item in manifest.items] == [
        "original", "original-2", "original-3", "readings", "trace",
        "camera-1", "camera-2", "camera-clip", "camera-alarm",
    ]  # fmt: skip
    clip = the_clip(site, manifest)
    assert probe(clip.path).duration_s == pytest.approx(56.0, abs=0.3)
    assert clip.item.parameters["joined"] == "camera-1 camera-2"
    assert clip.item.parameters["black_s"] == ""
    shown = list(frames(clip.path))
    assert max(np.diff([one.t_s for one in shown])) == pytest.approx(0.2, abs=0.01)
    assert np.mean([one.image.mean() for one in shown]) < 90, "it is night"
    assert min(one.image.mean() for one in shown) > 5, "and nothing of it is missing"
    trace, alarm = manifest.of_kind(EvidenceKind.KEY_FRAME)
    assert site.wiring.store.read(trace.object).startswith(b"\x89PNG")
    assert site.wiring.store.read(alarm.object).startswith(b"\xff\xd8")
    assert alarm.derived_from == "camera-2"
    assert manifest.notes == (
        "camera yard-cam, 20 m away, has the place in view; of 300 s it lacks 244 s",
    )
    assert len(site.queue()) == 1
    assert site.sweep(DUE + timedelta(days=1)) == []
    report = verify_all(site.wiring)
    assert report.damaged == ()


def test_the_nearest_of_the_cameras_that_see_the_place_is_taken(
    site: SensorSite, tmp_path: Path
) -> None:
    for name, away_m in (("a-cam", 40), ("b-cam", 15), ("c-cam", 60), ("d-cam", None)):
        path = counting(tmp_path / f"{name}.mp4", 0, 20)
        take(site, camera(site, name, away_m), path, ALARM - timedelta(seconds=10))
    # Nearer, but it looks elsewhere, sees nothing on the ground, or is not watched.
    for name, more in (
        ("e-cam", {"in_view": around(north(200))}),
        ("f-cam", {"in_view": None}),
        ("g-cam", {"enabled": False}),
    ):
        path = counting(tmp_path / f"{name}.mp4", 30, 20)
        take(site, camera(site, name, 2, **more), path, ALARM - timedelta(seconds=10))
    manifest = sealed(site)
    assert cameras_of(manifest) == ["b-cam"]
    [item] = manifest.of_kind(EvidenceKind.CLIP)
    assert item.parameters["distance_m"] == pytest.approx(15, abs=0.1)


def test_without_a_camera_that_sees_the_place_the_case_says_so(
    site: SensorSite, tmp_path: Path
) -> None:
    away = camera(site, "yard-cam", 2, looks_at=north(200))
    path = counting(tmp_path / "away.mp4", 0, 20)
    take(site, away, path, ALARM - timedelta(seconds=10))
    manifest = sealed(site)
    assert cameras_of(manifest) == []
    assert manifest.of_kind(EvidenceKind.CLIP) == ()
    assert manifest.notes == ("no camera has the sensor's place in view",)


def test_where_the_meter_has_no_place_its_site_stands_for_it(
    site: SensorSite, tmp_path: Path
) -> None:
    camera(site, "yard-cam", 20)
    meter = site.wiring.catalog.device("meter-1").model_copy(update={"place": None})
    others = [one for one in site.wiring.catalog.devices if one.device_id != "meter-1"]
    site.give_devices([meter, *others])
    assert sealed(site).notes == ("the catalog does not say where the sensor stands",)


def test_the_clock_of_the_camera_is_put_right(site: SensorSite, tmp_path: Path) -> None:
    """Eight hours ahead, as a camera is that takes local time for UTC."""
    yard = camera(site, "yard-cam", 20)
    path = counting(tmp_path / "ahead.mp4", 0, 40)
    take(site, yard, path, ALARM - timedelta(seconds=20), offset_s=-8 * 3600.0)
    manifest = sealed(site)
    clip = the_clip(site, manifest)
    for seconds in (-15, 0, 4):
        moment = ALARM + timedelta(seconds=seconds + 0.5)
        assert number_in(clip.shown_at(manifest, moment)) == 20 + seconds
    [original] = [one for one in manifest.items if one.item_id == "camera-1"]
    assert original.parameters["clock_offset_s"] == -8 * 3600.0


def test_a_hole_between_two_segments_is_told_and_black(site: SensorSite, tmp_path: Path) -> None:
    yard = camera(site, "yard-cam", 20)
    for number, seconds in ((0, -30), (1, -8)):
        path = counting(tmp_path / f"{number}.mp4", 20 * number + 10, 12)
        take(site, yard, path, ALARM + timedelta(seconds=seconds))
    manifest = sealed(site)
    clip = the_clip(site, manifest)
    shown = {
        seconds: clip.shown_at(manifest, ALARM + timedelta(seconds=seconds + 0.5))
        for seconds in (-30, -20, -17, -10, -8, 2)
    }
    numbers = {seconds: number_in(picture) for seconds, picture in shown.items()}
    assert (numbers[-30], numbers[-20]) == (10, 20)
    assert (numbers[-8], numbers[2]) == (30, 40)
    assert shown[-17].mean() < 2
    assert shown[-10].mean() < 2
    begin, end = str(clip.item.parameters["black_s"]).split("..")
    assert float(end) - float(begin) == pytest.approx(10.0, abs=0.01)
    [note] = manifest.notes
    assert note.endswith("of 300 s it lacks 276 s")


def test_a_long_segment_that_began_before_is_cut_and_others_are_left_out(
    site: SensorSite, tmp_path: Path
) -> None:
    """The last five minutes up to the alarm are shown; what ends before them is not."""
    yard = camera(site, "yard-cam", 20)
    start = ALARM - timedelta(minutes=4, seconds=54)
    long_ago = counting(tmp_path / "before.mp4", 50, 30)
    take(site, yard, long_ago, start - timedelta(seconds=100))
    take(site, yard, counting(tmp_path / "into.mp4", 0, 40), start - timedelta(seconds=20))
    take(site, yard, counting(tmp_path / "after.mp4", 3, 30), ALARM + timedelta(seconds=6))
    manifest = sealed(site)
    clip = the_clip(site, manifest)
    assert clip.item.parameters["joined"] == "camera-1"
    assert number_in(frame_at(clip.path, 0.0)) == 20
    assert clip.item.end_s is not None
    assert clip.item.start_s is not None
    assert clip.item.end_s - clip.item.start_s == pytest.approx(20.0, abs=0.3)


def test_without_footage_of_the_time_the_next_camera_is_taken_and_both_are_told(
    site: SensorSite, tmp_path: Path
) -> None:
    near, far = camera(site, "near-cam", 10), camera(site, "far-cam", 30)
    take(site, near, counting(tmp_path / "n.mp4", 0, 20), ALARM - timedelta(minutes=10))
    take(site, far, counting(tmp_path / "f.mp4", 30, 20), ALARM - timedelta(seconds=10))
    manifest = sealed(site)
    assert cameras_of(manifest) == ["far-cam"]
    assert manifest.notes == (
        "camera near-cam, 10 m away, has the place in view, but no footage of that time",
        "camera far-cam, 30 m away, has the place in view; of 300 s it lacks 284 s",
    )


def test_footage_that_was_set_aside_or_that_nobody_can_decode_is_left_out(
    site: SensorSite, tmp_path: Path
) -> None:
    yard = camera(site, "yard-cam", 20)
    begins = ALARM - timedelta(seconds=10)
    aside = take(site, yard, counting(tmp_path / "aside.mp4", 0, 20), begins)
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(os.urandom(4096))
    take(site, yard, broken, begins)
    with site.wiring.database.transaction() as connection:
        captures.quarantine(connection, aside, "turned away", site.now)
    assert cameras_of(sealed(site)) == []


def test_a_camera_that_no_review_covered_adds_nothing_to_what_a_reviewed_meter_shows(
    site: SensorSite, tmp_path: Path
) -> None:
    until = {"valid_until": ALARM - timedelta(minutes=3)}
    expired = camera(site, "near-cam", 10, device=until)
    unknown = camera(site, "odd-cam", 12, device_id=None)
    for number, feed in enumerate((expired, unknown)):
        path = counting(tmp_path / f"{number}.mp4", number, 20)
        take(site, feed, path, ALARM - timedelta(seconds=10))
    manifest = sealed(site)
    assert cameras_of(manifest) == []
    assert manifest.notes == (
        "camera near-cam, 10 m away, has the place in view, but was not under review then",
        "camera odd-cam has the place in view, but was not under review then",
    )


def test_only_captures_that_may_reach_into_the_time_are_fetched(
    site: SensorSite, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A camera of 30 s segments has thirty of them in the quarter of an hour before."""
    yard = camera(site, "yard-cam", 20)
    start = ALARM - timedelta(minutes=4, seconds=54)
    for number in range(4):
        path = counting(tmp_path / f"{number}.mp4", number, 30)
        take(site, yard, path, start - timedelta(seconds=30 * number + 10))
    probed: list[Path] = []

    def probing(path: Path) -> object:
        probed.append(path)
        return probe(path)

    monkeypatch.setattr(nearby, "probe", probing)
    assert cameras_of(sealed(site)) == ["yard-cam"]
    assert len(probed) == 1
