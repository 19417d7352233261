"""The demo's building site: work goes on into the night, before a noise meter and a camera.

The meter is a station that speaks HJ 212-2017. Its line was down all night, and is back now: it
sends what it measured meanwhile, until every packet is acknowledged.
"""

import os
import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, suppress
from datetime import UTC, datetime, timedelta
from itertools import cycle, islice
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from av.video.frame import VideoFrame

from enforcement.errors import StoreUnavailable
from feeds.folder import time_in_name
from feeds.hj212 import PacketParser, framed, packet_of
from media.actors import Act, Car, Person
from media.compositing import View, video_frames
from media.encoding import write_h264
from media.localities import TUNING_PLACES
from media.patrol_telemetry import TIME_ZONE, ground_point, polygon
from media.sprites import Look
from media.staging import Leg
from media.staging import Path as Way
from media.vehicles import VehicleModel
from media.weather import Conditions, Sweep
from settings.environment import Settings
from storage.records import captures
from storage.records.database import Database

SITE, METER, CAMERA = "demo-works", "works-noise", "works-yard"
"""The site and its two feeds."""

_DEVICE, _HOST, _MN = "noise-meter", "127.0.0.1", "DEMO00000000000000NOISE1"
_ZONE = ZoneInfo(TIME_ZONE)
_NIGHT, _NIGHT_ENDS = timedelta(hours=8), 6
_MEAN = timedelta(minutes=10)
_BEFORE_NIGHT = timedelta(hours=1)
"""From so long before the night on the station has something to send."""
_AT_WORK_DB = (
    64.8, 65.3, 64.1, 65.9, 64.4, 63.7,
    62.4, 63.1, 61.8, 62.9, 63.6, 62.2,
    61.5, 62.7, 60.9, 58.8,
)  # fmt: skip
"""Means of ten minutes from 21:00 on: lawful by day, and above the night's limit from 22:00 on."""
_AT_REST_DB = (47.2, 46.1, 46.8, 45.3, 45.9, 44.7, 46.4)

_ALARM = timedelta(hours=1)
"""After the night begins: the end of the first hour whose mean lies above the limit."""
_SHOWN_BEFORE, _SHOWN_S, _FPS = timedelta(seconds=20), 28.0, 10.0

_LOOK_EVERY_S, _AGAIN_S, _ANSWER_WITHIN_S = 2.0, 5.0, 10.0


def site() -> dict[str, Any]:
    """The catalog's entry of the place."""
    return {"site_id": SITE, "title": "Building site", "time_zone": TIME_ZONE}


def devices() -> list[dict[str, Any]]:
    """What the catalog's entries of meter and camera say beyond those of other demo devices."""
    calibration = {
        "valid_from": "2025-02-01T00:00:00Z",
        "valid_until": "2035-02-01T00:00:00Z",
        "certificate": "DEMO-1",
    }
    return [
        {
            "device_id": _DEVICE,
            "place": list(ground_point(1500, 800)),
            "calibrations": [calibration],
        },
        {"device_id": f"camera-{CAMERA}", "place": list(ground_point(1500, 784))},
    ]


def feeds(settings: Settings) -> list[dict[str, Any]]:
    """The catalog's entries of meter and camera. No rule looks at what the camera sees."""
    station = {"kind": "hj212", "host": _HOST, "port": settings.station_port}
    seen = polygon((1475.0, 1525.0, 790.0, 830.0))
    return [
        {
            "feed_id": METER,
            "title": "Noise meter at the fence",
            "site_id": SITE,
            "device_id": _DEVICE,
            "source": station | {"stations": [{"mn": _MN}]},
            "zones": [{"zone_id": "fence", "purpose": "noise_limit", "title": "Fence 场界"}],
        },
        {
            "feed_id": CAMERA,
            "title": "Building site by night",
            "site_id": SITE,
            "device_id": f"camera-{CAMERA}",
            "source": {"kind": "folder", "path": f"demo/cameras/{CAMERA}", "pattern": "*.mp4"},
            "in_view": [list(corner) for corner in seen],
        },
    ]


def last_night(now: datetime) -> datetime:
    """When the last night that is over began at the site: 22:00 of its clock."""
    local = now.astimezone(_ZONE)
    ended = local.replace(hour=_NIGHT_ENDS, minute=0, second=0, microsecond=0)
    if ended > local:
        ended -= timedelta(days=1)
    return (ended - _NIGHT).astimezone(UTC)


def film(settings: Settings, now: datetime) -> Path:
    """The camera's footage of last night's alarm, rendered unless it is there; 28 s.

    Its name tells which night it is of, also at later starts.
    """
    folder = settings.home / "demo" / "cameras" / CAMERA
    folder.mkdir(parents=True, exist_ok=True)
    known = sorted(folder.glob("*.mp4"))
    if known:
        return known[0]
    begins = last_night(now) + _ALARM - _SHOWN_BEFORE
    target = folder / f"{begins:%Y%m%dT%H%M%SZ}.mp4"
    part = folder / ".rendering.part"
    write_h264(part, _pictures(), _FPS, crf=27)
    os.replace(part, target)
    return target


def _pictures() -> Iterator[tuple[float, VideoFrame]]:
    """A lorry is loaded in the yard, by the light of a lamp."""
    yard = next(place for place in TUNING_PLACES if place.name == "works yard")
    lorry = Car(
        VehicleModel("flatbed", (40, 150, 210)),
        16.5,
        (Leg(0, 9, -11, -1, "braking"), Leg(22, _SHOWN_S, -1, 8, "starting")),
        facing=1,
    )
    way = Way(((0, 4, 12.6), (6, 1, 13), (13, 1, 13), (19, -2, 13.2), (_SHOWN_S, -2, 13.2)))
    worker = Person(Look(1), way, (Act("sweep", 7, 12),))
    night = Conditions(daytime="night", headlights=(Sweep(2, 10, 14, -12, 19),))
    view = View(640, 360)
    return video_frames(yard, (lorry, worker), night, view, seed=7, fps=_FPS, duration_s=_SHOWN_S)


def report(settings: Settings, footage: Path) -> None:
    """Send the night of the footage once that is on record; returns when all is acknowledged.

    Not before: the windows of readings wait for no footage.
    """
    begins = time_in_name(footage.name)
    sent = settings.home / "demo" / "noise-is-sent"
    if begins is None or sent.exists():
        return
    with closing(Database(settings.pipeline_database)) as database:
        while not _is_on_record(database, begins):
            time.sleep(_LOOK_EVERY_S)
    waiting = packets(begins + _SHOWN_BEFORE - _ALARM)
    while waiting := deliver(settings.station_port, waiting):
        time.sleep(_AGAIN_S)
    sent.touch()


def packets(night: datetime) -> list[bytes]:
    """What the station measured from 21:00 to 06:00 of the night that begins then."""
    first = night - _BEFORE_NIGHT
    means = (_BEFORE_NIGHT + _NIGHT) // _MEAN
    at_rest = islice(cycle(_AT_REST_DB), means - len(_AT_WORK_DB))
    return [
        _packet(first + number * _MEAN, level)
        for number, level in enumerate((*_AT_WORK_DB, *at_rest))
    ]


def deliver(port: int, waiting: Sequence[bytes]) -> list[bytes]:
    """Send packets to the collector; returns those that it did not acknowledge."""
    owed = {packet_of(one).qn: one for one in waiting}
    answers = PacketParser()
    with (
        suppress(OSError),  # refused, cut off or silent: they are sent again
        socket.create_connection((_HOST, port), timeout=_ANSWER_WITHIN_S) as line,
    ):
        line.sendall(b"".join(waiting))
        while owed and (data := line.recv(65536)):
            for answer in answers.feed(data):
                owed.pop(answer.qn, None)
    return list(owed.values())


def _packet(since: datetime, level_db: float) -> bytes:
    """A mean of ten minutes (CN 2051) of a building site (ST 39), acknowledgement wanted."""
    local = since.astimezone(_ZONE)
    return framed(
        f"QN={local + _MEAN:%Y%m%d%H%M%S}000;ST=39;CN=2051;PW=123456;MN={_MN};Flag=5;"
        f"CP=&&DataTime={local:%Y%m%d%H%M%S};Leq-Avg={level_db},Leq-Flag=N&&".encode()
    )


def _is_on_record(database: Database, begins: datetime) -> bool:
    try:
        with database.transaction() as connection:
            end = begins + timedelta(seconds=1)
            return bool(captures.begun_between(connection, CAMERA, begins, end))
    except StoreUnavailable:
        return False
