"""The demo scenes: short rendered footage of which everything is known.

Each scene is a place, a few actors and zones; the truth is computed from where the actors are
drawn, never written down by hand, so footage and truth can't part.
"""

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Literal, cast

import av
import cv2
import numpy as np
from av.video.frame import VideoFrame

from enforcement.errors import ConfigurationError, StoreUnavailable
from enforcement.geometry import Box, contains
from enforcement.model import Name, Record
from enforcement.places import Zone, ZonePurpose
from media.backdrops import layby, street, yard
from media.encoding import write_h264
from media.footage import Image
from media.scenery import Place, ground_polygon
from media.staging import Actor, Bag, Leg, Stage, Vehicle, Walker

FPS = 12.0
_PRESET, _CRF = "superfast", 27

RuleFamily = Literal["left_behind", "stopped_vehicle", "zone_intrusion"]


class SceneEvent(Record):
    """Something in a scene that a rule ought to notice."""

    rule_family: RuleFamily
    onset_s: float
    """Bag: touches the ground. Vehicle: stands. Person: feet cross into the zone."""
    end_s: float
    box: Box
    """Where the thing rests; for a person, the place reached half-way through."""


class SceneTruth(Record):
    """All that happens in a rendered scene; no events means that no alarm is right."""

    scene: Name
    duration_s: float
    zones: tuple[Zone, ...]
    events: tuple[SceneEvent, ...]


@dataclass(frozen=True)
class Scene:
    """What a demo catalog needs to know of a scene, and what it takes to draw it."""

    name: str
    title_en: str
    title_zh: str
    duration_s: float
    zones: tuple[Zone, ...]
    backdrop: Literal["layby", "fire lane", "street", "closed yard", "yard"]
    actors: tuple[Actor, ...] = ()
    wind_px: float = 1.6
    drift: float = 0.015
    seed: int = 1

    def truth(self) -> SceneTruth:
        """Computed from the actors, without rendering."""
        events = [*self._bags(), *self._vehicles(), *self._intrusions()]
        events.sort(key=lambda event: event.onset_s)
        return SceneTruth(
            scene=self.name, duration_s=self.duration_s, zones=self.zones, events=tuple(events)
        )

    @property
    def events(self) -> tuple[SceneEvent, ...]:
        """What a rule ought to notice."""
        return self.truth().events

    def boxes(self, t_s: float) -> list[tuple[str, Box, bool]]:
        """True ``(kind, box, whole)`` of all that is visible: ``person``, ``bag``, ``vehicle``."""
        kinds = {Walker: "person", Bag: "bag", Vehicle: "vehicle"}
        return [
            (kinds[type(actor)], pose.box, pose.is_whole)
            for actor in self.actors
            for pose in actor.poses(t_s)
            if pose.is_visible
        ]

    def _in_zone(self, purpose: ZonePurpose, box: Box) -> bool:
        return any(z.purpose is purpose and contains(z.polygon, box.foot) for z in self.zones)

    def _bags(self) -> Iterator[SceneEvent]:
        for bag in self.actors:
            if isinstance(bag, Bag) and bag.picked_up_s is None:
                box = bag.poses(bag.put_down_s)[0].box
                if self._in_zone(ZonePurpose.NO_DUMPING, box):
                    yield SceneEvent(
                        rule_family="left_behind",
                        onset_s=bag.put_down_s,
                        end_s=self.duration_s,
                        box=box,
                    )

    def _vehicles(self) -> Iterator[SceneEvent]:
        for vehicle in self.actors:
            if isinstance(vehicle, Vehicle):
                for start_s, end_s in vehicle.standing_s():
                    box = vehicle.poses(start_s)[0].box
                    if self._in_zone(ZonePurpose.NO_STOPPING, box):
                        yield SceneEvent(
                            rule_family="stopped_vehicle", onset_s=start_s, end_s=end_s, box=box
                        )

    def _intrusions(self) -> Iterator[SceneEvent]:
        times = [number / FPS for number in range(round(self.duration_s * FPS))]
        for walker in self.actors:
            if isinstance(walker, Walker):
                inside = [
                    t_s
                    for t_s in times
                    for pose in walker.poses(t_s)
                    if self._in_zone(ZonePurpose.FORBIDDEN, pose.box)
                ]
                if inside:
                    yield SceneEvent(
                        rule_family="zone_intrusion",
                        onset_s=inside[0],
                        end_s=inside[-1],
                        box=walker.poses(inside[len(inside) // 2])[0].box,
                    )


def _zone(
    zone_id: str, purpose: ZonePurpose, title: str, area: tuple[float, float, float, float]
) -> Zone:
    return Zone(zone_id=zone_id, purpose=purpose, title=title, polygon=ground_polygon(*area))


_DUMPER = Walker(
    figure=0,
    waypoints=((4.0, -7.2, 12.0), (9.4, -0.9, 12.0), (10.8, -0.9, 12.0), (17.2, 6.8, 12.0)),
    stoops_s=(10.0,),
)
_INTRUDER = Walker(
    figure=1,
    waypoints=((4.0, -7.6, 14.2), (11.2, 2.2, 14.2), (12.6, 3.2, 13.6), (18.4, 3.2, 13.6),
               (19.2, 2.2, 14.0), (26.4, -7.6, 14.2)),
)  # fmt: skip
_SHOPPER = Walker(
    figure=2,
    waypoints=((11.0, -7.0, 12.2), (16.2, -0.8, 12.2), (24.0, -0.8, 12.2), (30.0, 6.6, 12.2)),
    stoops_s=(17.0, 23.0),
)

_ALL = (
    Scene(
        name="layby-bag",
        title_en="Lay-by on the county road",
        title_zh="县道停车带",
        duration_s=34.0,
        zones=(
            _zone("lay-by", ZonePurpose.NO_DUMPING, "Lay-by 停车带", (-4.6, 4.6, 9.6, 15.0)),
        ),
        backdrop="layby",
        actors=(_DUMPER, Bag(_DUMPER, put_down_s=10.0)),
        seed=101,
    ),
    Scene(
        name="fire-lane-van",
        title_en="Fire lane at the market hall",
        title_zh="市场消防通道",
        duration_s=34.0,
        zones=(
            _zone("fire-lane", ZonePurpose.NO_STOPPING, "Fire lane 消防通道",
                  (-5.2, 3.2, 14.0, 17.3)),
        ),
        backdrop="fire lane",
        actors=(
            Vehicle(
                15.3,
                (
                    Leg(4.0, 9.0, 10.2, -1.0, "braking"),
                    Leg(28.0, 33.0, -1.0, -10.2, "starting"),
                ),
            ),
        ),
        seed=102,
    ),
    Scene(
        name="closed-zone-person",
        title_en="Closed area in the container yard",
        title_zh="堆场禁入区",
        duration_s=30.0,
        zones=(
            _zone("closed-area", ZonePurpose.FORBIDDEN, "Closed area 禁入区",
                  (0.2, 5.6, 11.6, 17.2)),
        ),
        backdrop="closed yard",
        actors=(_INTRUDER,),
        seed=103,
    ),
    Scene(
        name="quiet-yard",
        title_en="Works yard, nobody there",
        title_zh="厂区空场",
        duration_s=26.0,
        zones=(
            _zone("yard", ZonePurpose.FORBIDDEN, "Yard 场区", (-6.0, 6.0, 9.2, 20.0)),
            _zone("yard-ground", ZonePurpose.NO_DUMPING, "Ground 地面", (-6.0, 6.0, 9.2, 20.0)),
        ),
        backdrop="yard",
        wind_px=6.0,
        drift=0.06,
        seed=104,
    ),
    Scene(
        name="lawful-street",
        title_en="Street with lawful passers-by",
        title_zh="合规通行街道",
        duration_s=33.0,
        zones=(
            _zone("pavement", ZonePurpose.NO_DUMPING, "Pavement 人行道", (-5.4, 5.4, 9.2, 13.4)),
            _zone("carriageway", ZonePurpose.NO_STOPPING, "Carriageway 车行道",
                  (-6.6, 6.6, 13.8, 20.4)),
        ),
        backdrop="street",
        actors=(
            Walker(1, ((1.5, 6.4, 11.6), (11.5, -6.4, 11.6))),
            Vehicle(15.6, (Leg(5.0, 10.4, 10.4, -10.4),)),
            _SHOPPER,
            Bag(_SHOPPER, put_down_s=17.0, picked_up_s=23.0),
            Walker(3, ((20.0, 7.0, 13.0), (31.0, -7.0, 13.0))),
        ),
        seed=105,
    ),
)  # fmt: skip

SCENES: Mapping[str, Scene] = MappingProxyType({scene.name: scene for scene in _ALL})
"""All scenes by name."""


def render(name: str, target_path: Path) -> SceneTruth:
    """Write the scene as an MP4 (1280×720, 12 fps, H.264) and return what happens in it.

    The file appears under its name only when complete. Same name, same bytes.

    Raises ConfigurationError for an unknown scene or where the source picture is not installed,
    StoreUnavailable if the file can't be written.
    """
    scene = SCENES.get(name)
    if scene is None:
        raise ConfigurationError(f"No demo scene is called {name!r}; there are {sorted(SCENES)}.")
    part = target_path.with_name(f".{target_path.name}.part")
    try:
        write_h264(part, _video_frames(scene), FPS, preset=_PRESET, crf=_CRF)
        os.replace(part, target_path)
    except (OSError, av.FFmpegError) as error:
        raise StoreUnavailable(f"The scene {name} cannot be written: {error}.") from error
    finally:
        part.unlink(missing_ok=True)
    return scene.truth()


def pictures(scene: Scene) -> Iterator[tuple[float, Image]]:
    """The scene picture by picture, before it is encoded."""
    stage = Stage(
        _place(scene), scene.actors, wind_px=scene.wind_px, drift=scene.drift, seed=scene.seed
    )
    for number in range(round(scene.duration_s * FPS)):
        yield number / FPS, stage.picture(number / FPS)


def _place(scene: Scene) -> Place:
    match scene.backdrop:
        case "layby":
            return layby()
        case "fire lane" | "street":
            return street(scene.backdrop == "fire lane")
        case "closed yard" | "yard":
            return yard(scene.backdrop == "closed yard")


def _video_frames(scene: Scene) -> Iterator[tuple[float, VideoFrame]]:
    for t_s, picture in pictures(scene):
        # OpenCV converts three times as fast as FFmpeg's scaler does.
        planes = cast(Image, np.asarray(cv2.cvtColor(picture, cv2.COLOR_BGR2YUV_I420)))
        yield t_s, VideoFrame.from_ndarray(planes, format="yuv420p")
