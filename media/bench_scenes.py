"""Rendered footage of known activity, for measuring what watching a camera costs.

Three activities, from a yard where next to nothing happens to a street that is seldom empty. The
same activity and length give the same bytes; memory stays bounded however long the footage is.
"""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import av
import numpy as np
from av.video.frame import VideoFrame

from enforcement.errors import StoreUnavailable
from enforcement.geometry import Box, Point, Polygon
from enforcement.model import Record
from enforcement.places import Zone, ZonePurpose
from enforcement.truth import DUMPING, STOPPED_VEHICLE, Event
from media.actors import Actor, BoxPx, Car, Item, Person
from media.compositing import View, video_frames
from media.deeds import Director
from media.encoding import write_h264
from media.ensembles import TUNING
from media.localities import TUNING_PLACES, Locality
from media.scenery import HEIGHT_PX, WIDTH_PX
from media.weather import Conditions

Activity = Literal["quiet", "normal", "busy"]

FPS = 15.0
KEYFRAME_EVERY = 30
_FULL_S = 600.0
"""Length for which the numbers of events below hold."""
_EVENTS_FROM_S = 60.0
_STOP_S = 12.0
"""A shorter stop, as for unloading, is not expected to be raised."""
_LANE_M = 2.4
"""Half the depth of the no-stopping zone around the line on which vehicles drive."""


class BenchTruth(Record):
    """What happens in the footage; places are image fractions."""

    activity: Activity
    duration_s: float
    zones: tuple[Zone, ...]
    events: tuple[Event, ...]
    occupied_share: float
    """Share of the time in which somebody or a vehicle is in the picture."""


@dataclass(frozen=True)
class _Plan:
    place: Locality
    conditions: Conditions
    seed: int
    dumpings: int
    occupied_share: float
    """People and vehicles pass until at least so much of the time is taken."""
    stops: bool = False


_PLANS: dict[Activity, _Plan] = {
    "quiet": _Plan(TUNING_PLACES[2], Conditions(wind_px=4.0, drift=0.05, noise=2.6), 61, 1, 0.0),
    "normal": _Plan(TUNING_PLACES[0], Conditions(drift=0.03, noise=2.4), 62, 2, 0.15),
    "busy": _Plan(TUNING_PLACES[1], Conditions(drift=0.03, noise=2.4), 63, 3, 0.75, stops=True),
}


def bench_truth(activity: Activity, duration_s: float = 600.0) -> BenchTruth:
    """What `bench_footage` of this length shows, without rendering it."""
    plan = _PLANS[activity]
    return _truth(activity, plan, _cast(plan, duration_s), duration_s)


def bench_footage(
    activity: Activity,
    target_path: Path,
    duration_s: float = 600.0,
    progress: Callable[[float], None] = lambda done_s: None,
) -> BenchTruth:
    """Write footage as an MP4 (1280×720, 15 fps, H.264, a key frame every 30 pictures).

    Returns what happens in it.
    Events are scaled down with the length; from a minute on there is at least one of each kind.
    ``progress`` gets the seconds of footage written. The file appears only when complete.

    Raises StoreUnavailable if it can't be written.
    """
    plan = _PLANS[activity]
    actors = _cast(plan, duration_s)
    frames = video_frames(plan.place, actors, plan.conditions, View(), seed=plan.seed, fps=FPS,
                          duration_s=duration_s)  # fmt: skip
    part = target_path.with_name(f".{target_path.name}.part")
    try:
        write_h264(part, _told(frames, progress), FPS, preset="superfast", crf=27,
                   keyframe_every=KEYFRAME_EVERY)  # fmt: skip
        os.replace(part, target_path)
    except (OSError, av.FFmpegError) as error:
        raise StoreUnavailable(f"The footage {target_path.name} cannot be written: {error}.") from (
            error
        )
    finally:
        part.unlink(missing_ok=True)
    return _truth(activity, plan, actors, duration_s)


def _told(
    frames: Iterator[tuple[float, VideoFrame]], progress: Callable[[float], None]
) -> Iterator[tuple[float, VideoFrame]]:
    for t_s, frame in frames:
        yield t_s, frame
        if round(t_s * FPS) % round(10 * FPS) == 0:
            progress(t_s)


def _cast(plan: _Plan, duration_s: float) -> tuple[Actor, ...]:
    """All who act, laid evenly over the footage and then filled up with passers-by."""
    chance = np.random.default_rng(plan.seed)
    director = Director(plan.place, TUNING, chance)
    actors: list[Actor] = []
    if duration_s >= _EVENTS_FROM_S:
        dumpings = max(1, round(plan.dumpings * duration_s / _FULL_S))
        for number in range(dumpings):
            at_s = duration_s * (number + 0.45) / (dumpings + (1 if plan.stops else 0))
            actors += director.unload(at_s) if number % 2 else director.leave_behind(at_s)
        if plan.stops:
            stands_s = min(40.0, 0.3 * duration_s)
            actors += director.stop_and_go(0.92 * duration_s - stands_s - 4.0, stands_s)
        if plan.occupied_share == 0.0:
            actors += director.passer(0.12 * duration_s)
    missing_s = plan.occupied_share * duration_s
    for _ in range(2 * round(duration_s)):
        if _occupied_s(actors, duration_s) >= missing_s:
            break
        from_s = float(chance.uniform(1.0, max(2.0, duration_s - 8.0)))
        more = director.passer(from_s) if chance.random() < 0.6 else director.drive_by(from_s)
        if not any(_collide(one, other) for one in more for other in actors):
            actors += more
    return tuple(actors)


def _collide(one: Actor, other: Actor) -> bool:
    """Whether two vehicles are in the same lane at the same time."""
    if not (isinstance(one, Car) and isinstance(other, Car)):
        return False
    apart = one.legs[-1].end_s + 1 < other.legs[0].start_s or (
        other.legs[-1].end_s + 1 < one.legs[0].start_s
    )
    return abs(one.z_m - other.z_m) < 1.0 and not apart


def _occupied_s(actors: list[Actor], duration_s: float) -> float:
    """Seconds with somebody or a vehicle in or at the edge of the picture."""
    taken = np.zeros(int(10 * duration_s) + 1, bool)
    for actor in actors:
        if isinstance(actor, Person):
            spans = [(actor.path.points[0][0], actor.path.points[-1][0])]
        elif isinstance(actor, Car):
            spans = [(actor.legs[0].start_s, actor.legs[-1].end_s)]
        else:
            spans = []
        for start_s, end_s in spans:
            taken[max(0, round(10 * start_s)) : max(0, round(10 * end_s))] = True
    return float(taken.mean()) * duration_s


def _truth(
    activity: Activity, plan: _Plan, actors: tuple[Actor, ...], duration_s: float
) -> BenchTruth:
    camera, lane = plan.place.camera, _lane(plan.place)
    events = [
        Event(family=DUMPING, onset_s=round(item.onset_s, 2), end_s=duration_s,
              box=_fractions(item.rest_box_px(camera)), manner=item.manner)
        for item in actors
        if isinstance(item, Item) and item.manner is not None
    ]  # fmt: skip
    zones = [Zone(zone_id="whole-frame", purpose=ZonePurpose.NO_DUMPING)]
    if plan.stops:
        zones.append(Zone(zone_id="lane", purpose=ZonePurpose.NO_STOPPING, polygon=lane))
        stopping = [car for car in actors if isinstance(car, Car) and len(car.legs) > 1]
        events += [stop for car in stopping if (stop := _stop(car, plan.place)) is not None]
    return BenchTruth(
        activity=activity,
        duration_s=duration_s,
        zones=tuple(zones),
        events=tuple(sorted(events, key=lambda event: event.onset_s)),
        occupied_share=round(_occupied_s(list(actors), duration_s) / duration_s, 3),
    )


def _stop(car: Car, place: Locality) -> Event | None:
    """A vehicle that stands between its legs; None if only for moments."""
    start_s, end_s = car.legs[0].end_s, car.legs[1].start_s
    if end_s - start_s < _STOP_S:
        return None
    (seen,) = car.appearances(start_s, place.camera)
    return Event(family=STOPPED_VEHICLE, onset_s=round(start_s, 2), end_s=round(end_s, 2),
                 box=_fractions(seen.box_px))  # fmt: skip


def _lane(place: Locality) -> Polygon:
    """The lane over the whole width of the picture."""
    top, bottom = (
        place.camera.project(0.0, 0.0, place.road_z_m + side * _LANE_M)[1] / HEIGHT_PX
        for side in (1, -1)
    )
    return Point(0, top), Point(1, top), Point(1, bottom), Point(0, bottom)


def _fractions(box_px: BoxPx) -> Box:
    left, top, right, bottom = View().box(box_px)
    return Box(left / WIDTH_PX, top / HEIGHT_PX, right / WIDTH_PX, bottom / HEIGHT_PX)
