"""Nearby: the footage of the camera that had a sensor's place in view at the time of its lead.

Nothing waits for footage: a window of readings is evaluated at least ten minutes after it ended,
and what is not filed by then is told to be missing.
"""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path

from enforcement.cases import Lead
from enforcement.episodes import SensorFinding
from enforcement.errors import BadFootage
from enforcement.evidence import DeviceStatus, EvidenceItem, EvidenceKind
from enforcement.footage import Capture
from enforcement.fusion import CameraInView, cameras_seeing, clip_span, sensor_place
from media.drawing import encode_jpeg
from media.footage import HOLE_S, Piece, frame_at, join_clip, probe
from pipelines import VERSION
from pipelines.seal import evidence_prefix, put_evidence
from pipelines.wiring import Wiring
from storage.evidence_store import BucketRole
from storage.records import captures

_LONGEST_CAPTURE = timedelta(minutes=15)
"""What begins earlier than this before a moment is taken to have ended by then."""

_TOLD_S = 1.0
"""Shorter stretches without footage are not worth a note."""


@dataclass(frozen=True)
class CameraEvidence:
    """What a camera adds to the package of a lead of readings."""

    items: tuple[EvidenceItem, ...]
    notes: tuple[str, ...]
    """Which camera it is, or why there is none, for the reviewer."""


@dataclass(frozen=True)
class _Take:
    """A capture of a camera as a local file, and its time in true UTC."""

    capture: Capture
    path: Path
    begins_at: datetime
    ends_at: datetime


def camera_evidence(
    wiring: Wiring, lead: Lead, finding: SensorFinding, status: DeviceStatus
) -> CameraEvidence:
    """Originals, clip and picture of the nearest camera with the sensor's place in view.

    ``status`` is the sensor's. A camera that no review covered adds nothing to what a reviewed
    sensor shows, for that could not be evidence any more.
    """
    catalog = wiring.catalog
    devices = {one.device_id: one for one in catalog.devices}
    place = sensor_place(devices.get(finding.device_id), catalog.site(lead.site_id))
    if place is None:
        return CameraEvidence((), ("the catalog does not say where the sensor stands",))
    cameras = cameras_seeing(place, catalog.feeds, catalog.devices)
    if not cameras:
        return CameraEvidence((), ("no camera has the sensor's place in view",))
    start, end = clip_span(finding.onset_at, finding.alarm_at)
    notes: list[str] = []
    for camera in cameras:
        if status == "valid" and not _is_reviewed(camera, start, end):
            notes.append(f"{_named(camera)} has the place in view, but was not under review then")
            continue
        with _takes(wiring, camera, start, end) as takes:
            if takes:
                items = tuple(_items(wiring, lead, camera, takes, start, end))
                return CameraEvidence(items, (*notes, _told(camera, takes, start, end)))
        notes.append(f"{_named(camera)} has the place in view, but no footage of that time")
    return CameraEvidence((), tuple(notes))


def _is_reviewed(camera: CameraInView, start: datetime, end: datetime) -> bool:
    return camera.device is not None and all(map(camera.device.is_valid_at, (start, end)))


@contextmanager
def _takes(
    wiring: Wiring, camera: CameraInView, start: datetime, end: datetime
) -> Iterator[list[_Take]]:
    """The camera's captures that overlap ``[start, end)``, in the order of time."""
    feed_id = camera.feed.feed_id
    with wiring.database.transaction() as connection:
        begun = captures.begun_between(connection, feed_id, start - _LONGEST_CAPTURE, end)
    takes: list[_Take] = []
    with ExitStack() as files:
        # Which captures reach into the span only their bytes tell, so the latest come first.
        for capture in reversed(begun):
            if takes and takes[0].begins_at <= start:
                break
            path = files.enter_context(wiring.footage_of(capture))
            try:
                ends_at = capture.began_at + timedelta(seconds=probe(path).duration_s)
            except BadFootage:
                # It is set aside once the detectors look at it.
                continue
            if ends_at > start:
                takes.insert(0, _Take(capture, path, capture.began_at, ends_at))
        yield takes


def _items(
    wiring: Wiring,
    lead: Lead,
    camera: CameraInView,
    takes: Sequence[_Take],
    start: datetime,
    end: datetime,
) -> Iterator[EvidenceItem]:
    told: dict[str, float | int | str | bool] = {"feed_id": camera.feed.feed_id}
    if camera.distance_m is not None:
        told["distance_m"] = round(camera.distance_m, 1)
    for number, take in enumerate(takes, 1):
        yield EvidenceItem(
            item_id=f"camera-{number}",
            kind=EvidenceKind.FURTHER_ORIGINAL,
            object=take.capture.object,
            made_by=f"sightline.pull@{VERSION}",
            parameters=told
            | {
                "captured_at": take.capture.captured_at.isoformat(),
                "clock_offset_s": take.capture.clock_offset_s,
            },
        )
    yield _clip(wiring, lead, takes, start, end, told)
    yield _picture(wiring, lead, takes, told)


def _clip(
    wiring: Wiring,
    lead: Lead,
    takes: Sequence[_Take],
    start: datetime,
    end: datetime,
    told: dict[str, float | int | str | bool],
) -> EvidenceItem:
    begin, until = max(start, takes[0].begins_at), min(end, takes[-1].ends_at)
    holes = [(_seconds(lead, a), _seconds(lead, b)) for a, b in _holes(takes)]
    pieces = [Piece(take.path, _seconds(lead, take.begins_at)) for take in takes]
    target = takes[0].path.with_name(f"{lead.lead_id}.mp4")
    join_clip(pieces, target, _seconds(lead, begin), _seconds(lead, until))
    stored = wiring.store.put_file(
        BucketRole.EVIDENCE, target, "video/mp4", prefix=evidence_prefix(lead)
    )
    return EvidenceItem(
        item_id="camera-clip",
        kind=EvidenceKind.CLIP,
        object=stored,
        derived_from="camera-1",
        made_by=f"sightline.join_clip@{VERSION}",
        parameters=told
        | {
            "joined": " ".join(f"camera-{number}" for number, _ in enumerate(takes, 1)),
            "black_s": " ".join(f"{a:.3f}..{b:.3f}" for a, b in holes),
        },
        start_s=_seconds(lead, begin),
        end_s=_seconds(lead, until),
    )


def _picture(
    wiring: Wiring,
    lead: Lead,
    takes: Sequence[_Take],
    told: dict[str, float | int | str | bool],
) -> EvidenceItem:
    """The picture of the moment nearest to the alarm."""
    nearest = [(min(max(lead.alarm_at, one.begins_at), one.ends_at), one) for one in takes]
    moment, take = min(nearest, key=lambda one: abs(one[0] - lead.alarm_at))
    picture = frame_at(take.path, (moment - take.begins_at).total_seconds())
    return EvidenceItem(
        item_id="camera-alarm",
        kind=EvidenceKind.KEY_FRAME,
        object=put_evidence(wiring, lead, encode_jpeg(picture), "image/jpeg"),
        derived_from=f"camera-{takes.index(take) + 1}",
        made_by=f"sightline.key_frame@{VERSION}",
        parameters=told,
        start_s=_seconds(lead, moment),
        end_s=_seconds(lead, moment),
    )


def _holes(takes: Sequence[_Take]) -> list[tuple[datetime, datetime]]:
    """The times between captures without footage."""
    return [
        (before.ends_at, after.begins_at)
        for before, after in pairwise(takes)
        if (after.begins_at - before.ends_at).total_seconds() > HOLE_S
    ]


def _seconds(lead: Lead, moment: datetime) -> float:
    """In the seconds in which the lead tells its times."""
    return round(lead.alarm_at_s + (moment - lead.alarm_at).total_seconds(), 3)


def _named(camera: CameraInView) -> str:
    if camera.distance_m is None:
        return f"camera {camera.feed.feed_id}"
    return f"camera {camera.feed.feed_id}, {camera.distance_m:.0f} m away,"


def _told(camera: CameraInView, takes: Sequence[_Take], start: datetime, end: datetime) -> str:
    """Which camera it is, and how much of the time it lacks."""
    seen = f"{_named(camera)} has the place in view"
    lacking = [(start, takes[0].begins_at), *_holes(takes), (takes[-1].ends_at, end)]
    lacking_s = sum(max(0.0, (b - a).total_seconds()) for a, b in lacking)
    if lacking_s <= _TOLD_S:
        return seen
    return f"{seen}; of {(end - start).total_seconds():.0f} s it lacks {lacking_s:.0f} s"
