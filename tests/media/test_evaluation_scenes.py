"""Facts about the rendered evaluation sets: their truth is what the pixels show, and the splits
share nothing."""

import hashlib
import json
from collections import Counter
from dataclasses import fields, replace
from functools import cache
from itertools import pairwise
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from enforcement.errors import ConfigurationError, StoreUnavailable
from enforcement.truth import IndexEntry
from media.actors import Car, Held, Item, Person, Rest
from media.compositing import Compositor, View
from media.evaluation_clips import EvaluationClip, Split
from media.evaluation_scenes import evaluation_set, render_set
from media.footage import Image, frames, probe
from media.staging import Leg
from media.vehicles import VehicleModel
from media.weather import Conditions

SPLITS: tuple[Split, ...] = ("tuning", "held-back")
MANNERS = {"left_behind", "load_from_vehicle", "throw", "throw_from_height"}
SHORT_S = 60.0
BLACK = 16
"""Luma of black in video range."""


@cache
def first_of(manner: str) -> EvaluationClip:
    return next(
        clip
        for clip in evaluation_set("tuning")
        if clip.conditions.daytime == "day"
        and [alarm["manner"] for alarm in clip.alarms()] == [manner]
    )


def still(clip: EvaluationClip) -> EvaluationClip:
    """The same doing without anything that moves by itself, and small."""
    view = View(640, 360)
    return replace(clip, conditions=Conditions(wind_px=0, drift=0, noise=0.4), view=view)


def seen_at(clip: EvaluationClip, *moments_s: float) -> list[Image]:
    """Luma at these moments."""
    compositor = Compositor(clip.place, clip.actors, clip.conditions, clip.view, clip.seed)
    planes = [compositor.planes(t_s) for t_s in moments_s]
    return [picture[: clip.view.height_px].copy() for picture in planes]


def change(one: Image, two: Image, box_px: list[int]) -> float:
    left, top, right, bottom = box_px
    a, b = (image[top:bottom, left:right].astype(np.float32) for image in (one, two))
    return float(np.abs(a - b).mean())


@pytest.mark.parametrize("manner", sorted(MANNERS))
def test_what_is_dumped_lies_where_and_since_when_the_truth_says(manner: str) -> None:
    clip = still(first_of(manner))
    (alarm,) = clip.alarms()
    box, onset_s = alarm["box_px"], alarm["onset_s"]
    moments_s = (onset_s - 2, clip.duration_s - 2, clip.duration_s - 0.1)
    actors = tuple(a for a in clip.actors if not (isinstance(a, Item) and a.manner is not None))
    before, last, later = seen_at(clip, *moments_s)
    before_without, last_without, _ = seen_at(replace(clip, actors=actors), *moments_s)
    assert change(before_without, before, box) < 2
    assert change(last_without, last, box) > 8
    assert change(last, later, box) < 3
    assert changed_box(last_without, last) == pytest.approx(box, abs=9)


def changed_box(one: Image, two: Image) -> list[int]:
    """Around all that differs, shadows at the foot included."""
    rows, columns = np.nonzero(cv2.absdiff(one, two) > 20)
    return [int(columns.min()), int(rows.min()), int(columns.max()) + 1, int(rows.max()) + 1]


@pytest.mark.parametrize("split", SPLITS)
def test_the_onset_is_where_the_actors_put_it(split: Split) -> None:
    for clip in evaluation_set(split):
        dumped = [a for a in clip.actors if isinstance(a, Item) and a.manner is not None]
        for item in dumped:
            (onset,) = item.appearances(item.onset_s, clip.place.camera)
            (last,) = item.appearances(clip.duration_s, clip.place.camera)
            assert last.box_px == item.rest_box_px(clip.place.camera)
            flies = item.manner in ("throw", "throw_from_height")
            assert (onset.box_px != last.box_px) is flies
            assert clip.duration_s - item.onset_s >= 5
            assert item.onset_s >= 5, "time to learn the background"


@pytest.mark.parametrize("split", SPLITS)
def test_a_split_holds_every_manner_and_enough_of_all(split: Split) -> None:
    clips = evaluation_set(split)
    short = [clip for clip in clips if clip.duration_s < SHORT_S]
    manners = Counter(alarm["manner"] for clip in clips for alarm in clip.alarms())
    assert set(manners) == MANNERS
    assert min(manners.values()) >= 4
    assert len(short) >= 40
    assert all(15 <= clip.duration_s <= 47 for clip in short)
    positive = sum(bool(clip.alarms()) for clip in short)
    assert 0.4 <= positive / len(short) <= 0.6
    assert sum(clip.duration_s for clip in clips if not clip.alarms()) >= 3600
    findings = Counter(
        finding["finding"] for clip in clips for finding in clip.expect().get("view_health", ())
    )
    assert {"covered", "black", "frozen", "turned"} <= set(findings)
    assert sum(not clip.is_suitable for clip in clips) >= 2


@pytest.mark.parametrize("split", SPLITS)
def test_every_disturbance_is_in_each_split(split: Split) -> None:
    met = {name for clip in evaluation_set(split) for name in clip.conditions.disturbances}
    named = {field.name.removesuffix("_s").removesuffix("_px") for field in fields(Conditions)}
    assert met == named - {"daytime"} | {"dusk", "night"}


def test_the_splits_share_no_seed_place_look_vehicle_or_thing() -> None:
    kinds: list[set[object]] = []
    for split in SPLITS:
        clips = evaluation_set(split)
        actors = [actor for clip in clips for actor in clip.actors]
        kinds.append(
            {clip.seed for clip in clips}
            | {clip.digest for clip in clips}
            | {clip.name for clip in clips}
            | {clip.place for clip in clips}
            | {actor.look for actor in actors if isinstance(actor, Person)}
            | {actor.model for actor in actors if isinstance(actor, Car)}
            | {a.thing for a in actors if isinstance(a, Item) and a.thing.kind != "broom"}
        )
    assert not kinds[0] & kinds[1]
    assert all(len({clip.name for clip in evaluation_set(s)}) == len(evaluation_set(s))
               for s in SPLITS)  # fmt: skip


def test_lawful_things_never_stay_behind() -> None:
    things = [a for split in SPLITS for clip in evaluation_set(split) for a in clip.actors
              if isinstance(a, Item)]  # fmt: skip
    lawful = [item for item in things if item.manner is None]
    assert any(isinstance(item.phases[0], Rest) for item in lawful), "there from the first picture"
    assert any(isinstance(phase, Rest) for item in lawful for phase in item.phases[1:])
    assert all(isinstance(item.phases[-1], Held) for item in lawful)
    assert all(isinstance(item.phases[-1], Rest) for item in things if item.manner is not None)


def test_vehicles_of_a_clip_never_drive_through_one_another() -> None:
    for split in SPLITS:
        for clip in evaluation_set(split):
            cars = [actor for actor in clip.actors if isinstance(actor, Car)]
            for tick in range(round(clip.duration_s)):
                spans = [
                    (car.z_m, x_m - car.model.length_m / 2, x_m + car.model.length_m / 2)
                    for car in cars
                    if (x_m := car.x_m(float(tick))) is not None
                ]
                for number, (z_m, left, right) in enumerate(spans):
                    for other_z, other_left, other_right in spans[number + 1 :]:
                        apart = right < other_left or other_right < left
                        assert apart or abs(z_m - other_z) > 1.0, (clip.name, tick)


@pytest.fixture(scope="module")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, EvaluationClip]:
    """The shortest dumping clip, rendered."""
    clip = min((c for c in evaluation_set("tuning") if c.alarms()), key=lambda c: c.view.width_px)
    folder = tmp_path_factory.mktemp("set")
    render_set("tuning", folder, names=[clip.name])
    return folder, clip


def test_an_index_entry_says_what_the_file_is(rendered: tuple[Path, EvaluationClip]) -> None:
    folder, clip = rendered
    (raw,) = json.loads((folder / "index.json").read_text("utf-8"))
    entry = IndexEntry.model_validate(raw)
    file = folder / entry.file
    assert entry.expect is not None
    assert [alarm.manner for alarm in entry.expect.alarms] == [
        alarm["manner"] for alarm in clip.alarms()
    ]
    assert entry.sha256 == hashlib.sha256(file.read_bytes()).hexdigest()
    info = probe(file)
    assert (info.width_px, info.height_px) == (clip.view.width_px, clip.view.height_px)
    assert info.fps == pytest.approx(clip.fps, abs=0.1)
    assert info.duration_s == pytest.approx(clip.duration_s, abs=0.2)
    with av.open(str(file)) as container:
        keys = [n for n, p in enumerate(container.demux(video=0)) if p.size and p.is_keyframe]
    assert max(np.diff(keys)) == clip.keyframe_every
    assert {found.name for found in folder.iterdir()} == {file.name, "index.json"}


def test_what_is_rendered_is_kept_and_comes_out_alike_again(
    rendered: tuple[Path, EvaluationClip], tmp_path: Path
) -> None:
    folder, clip = rendered
    file = folder / f"{clip.name}.mp4"
    first, written_ns = file.read_bytes(), file.stat().st_mtime_ns
    told: list[tuple[str, int, int]] = []
    render_set("tuning", folder, names=[clip.name], progress=lambda *step: told.append(step))
    assert told == [(clip.name, 1, 1)]
    assert file.stat().st_mtime_ns == written_ns
    index = json.loads((folder / "index.json").read_text("utf-8"))
    index[0]["description"] = "of another revision"
    (tmp_path / "index.json").write_text(json.dumps(index), "utf-8")
    (tmp_path / file.name).write_bytes(b"old")
    render_set("tuning", tmp_path, names=[clip.name])
    assert (tmp_path / file.name).read_bytes() == first


def test_a_broken_off_clip_leaves_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = Compositor.planes

    def breaks(self: Compositor, t_s: float) -> Image:
        if t_s > 4:
            assert [file.suffix for file in tmp_path.iterdir()] == [".part"]
            raise KeyboardInterrupt
        return whole(self, t_s)

    monkeypatch.setattr(Compositor, "planes", breaks)
    clip = evaluation_set("tuning")[0]
    with pytest.raises(KeyboardInterrupt):
        render_set("tuning", tmp_path, names=[clip.name])
    assert list(tmp_path.iterdir()) == []


def test_unknown_clips_and_unwritable_places_are_errors(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="no-such-clip"):
        render_set("tuning", tmp_path, names=["no-such-clip"])
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StoreUnavailable):
        render_set("tuning", tmp_path / "file", names=[evaluation_set("tuning")[0].name])


@pytest.mark.parametrize("content", ['[{"file": "street.mp4"}]', "not json", "[1]"])
def test_an_index_of_something_else_is_not_overwritten(tmp_path: Path, content: str) -> None:
    (tmp_path / "index.json").write_text(content, "utf-8")
    with pytest.raises(ConfigurationError, match="something else"):
        render_set("tuning", tmp_path, names=[evaluation_set("tuning")[0].name])
    assert (tmp_path / "index.json").read_text("utf-8") == content


def brightness(clip: EvaluationClip, *moments_s: float) -> list[float]:
    return [float(image.mean()) for image in seen_at(clip, *moments_s)]


def empty_clip(conditions: Conditions) -> EvaluationClip:
    return replace(
        evaluation_set("tuning")[0], actors=(), conditions=conditions, view=View(640, 360)
    )


def test_a_covered_a_black_and_a_defocused_view_show_next_to_nothing() -> None:
    for conditions in (
        Conditions(noise=0.5, covered_s=10.0),
        Conditions(noise=0.5, black_s=10.0),
        Conditions(noise=0.5, defocused_s=10.0),
    ):
        before, after = seen_at(empty_clip(conditions), 9.9, 14.0)
        detail = [float(cv2.Laplacian(image, cv2.CV_32F).std()) for image in (before, after)]
        assert detail[1] < 0.45 * detail[0], conditions.disturbances


def test_a_frozen_picture_repeats_and_dropped_ones_are_missing(tmp_path: Path) -> None:
    conditions = Conditions(frozen_s=2.0, dropped_s=((0.5, 1.0),))
    clip = replace(empty_clip(conditions), duration_s=4.0, fps=10.0)
    clip.write(tmp_path / "frozen.mp4")
    seen = [(frame.t_s, frame.image.astype(np.int16)) for frame in frames(tmp_path / "frozen.mp4")]
    assert not [t_s for t_s, _ in seen if 0.5 <= t_s < 0.99]
    moved = {t_s: float(np.abs(image - before).mean())
             for (_, before), (t_s, image) in pairwise(seen)}  # fmt: skip
    live = min(step for t_s, step in moved.items() if t_s < 2.0)
    assert max(step for t_s, step in moved.items() if t_s > 2.9) < 0.5 * live


def test_a_turned_view_shows_something_else_and_stays_there() -> None:
    clip = replace(empty_clip(Conditions(noise=0.5, wind_px=0, drift=0, turned_s=5.0)),
                   view=View(960, 540, 128, 72, 1024))  # fmt: skip
    before, after, later = (image.astype(np.int16) for image in seen_at(clip, 4.9, 7.0, 9.0))
    assert np.abs(after - before).mean() > 8
    assert np.abs(later - after).mean() < 2


def test_night_is_darker_than_dusk_and_dusk_than_day() -> None:
    light = [brightness(empty_clip(Conditions(daytime=time)), 1.0)[0]
             for time in ("night", "dusk", "day")]  # fmt: skip
    assert light[0] < light[1] < light[2]
    switched = brightness(empty_clip(Conditions(drift=0, light_steps=((5.0, 0.6),))), 4.9, 5.1)
    assert switched[1] - BLACK == pytest.approx(0.6 * (switched[0] - BLACK), rel=0.05)


def test_what_stands_nearer_hides_what_passes_behind_it() -> None:
    clip = next(c for c in evaluation_set("tuning") if c.place.name == "country lay-by")
    assert clip.place.bin_m is not None
    x_m, z_m = clip.place.bin_m
    car = Car(VehicleModel("van", (214, 216, 218)), z_m + 2.0, (Leg(0, 9, x_m, x_m),))
    near = Car(VehicleModel("van", (214, 216, 218)), z_m - 2.0, (Leg(0, 9, x_m, x_m),))
    camera = clip.place.camera
    left, top = (round(v) for v in camera.project(x_m - 0.2, 0.85, z_m))
    right, bottom = (round(v) for v in camera.project(x_m + 0.2, 0.1, z_m))
    plain = replace(clip, conditions=Conditions(wind_px=0, drift=0, noise=0.4), view=View())
    empty, behind, before = (
        seen_at(replace(plain, actors=actors), 1.0)[0] for actors in ((), (car,), (near,))
    )
    box = [left, top, right, bottom]
    assert change(empty, behind, box) < 2
    assert change(empty, before, box) > 10
