"""The flights of a rendered patrol as stills instead of videos: what mapping flights bring."""

import io
from dataclasses import replace
from pathlib import Path
from zoneinfo import ZoneInfo

from PIL import ExifTags, Image

from enforcement.flights import AircraftPose
from media.drawing import encode_jpeg
from media.patrol_scenes import Pass, Patrol, flight_pictures
from media.patrol_telemetry import TIME_ZONE
from tests.feeds.test_telemetry_stills import xmp

_SPEED_M_S = 5.0


def take_stills(plan: Patrol, which: Pass, folder: Path, *, every_m: float, camera: str = "V"
                ) -> list[Path]:  # fmt: skip
    """Write one flight's stills as DJI names them; returns them in the order of time."""
    folder.mkdir(parents=True, exist_ok=True)
    found = []
    spaced = replace(plan, fps=_SPEED_M_S / every_m)
    for number, (pose, picture) in enumerate(flight_pictures(spaced, which), start=1):
        assert pose.moment is not None
        local = pose.moment.astimezone(ZoneInfo(TIME_ZONE))
        path = folder / f"DJI_{local:%Y%m%d%H%M%S}_{number:04}_{camera}.JPG"
        path.write_bytes(_with_headers(encode_jpeg(picture, 92), pose))
        found.append(path)
    return found


def _with_headers(picture: bytes, pose: AircraftPose) -> bytes:
    """A JPEG with the EXIF and XMP of a current DJI aircraft: local time, decimal degrees."""
    assert pose.moment is not None
    local = pose.moment.astimezone(ZoneInfo(TIME_ZONE))
    exif = Image.Exif()
    exif[ExifTags.Base.Make] = "DJI"
    exif.get_ifd(ExifTags.IFD.Exif).update({
        ExifTags.Base.DateTimeOriginal: f"{local:%Y:%m:%d %H:%M:%S}",
        ExifTags.Base.SubsecTimeOriginal: f"{local.microsecond // 1000:03}",
        ExifTags.Base.FocalLengthIn35mmFilm: round(pose.focal_length_35mm_mm or 0),
    })  # fmt: skip
    packet = xmp(
        GpsLatitude=f"{pose.latitude_deg:+.6f}", GpsLongitude=f"{pose.longitude_deg:+.6f}",
        AbsoluteAltitude=f"{pose.altitude_m:+.3f}", RelativeAltitude=f"{pose.height_m:+.3f}",
        GimbalYawDegree=f"{pose.gimbal_yaw_deg:+.2f}",
        GimbalPitchDegree=f"{pose.gimbal_pitch_deg:+.2f}",
        GimbalRollDegree=f"{pose.gimbal_roll_deg:+.2f}",
    )  # fmt: skip
    target = io.BytesIO()
    Image.open(io.BytesIO(picture)).save(target, "JPEG", quality="keep", exif=exif, xmp=packet)
    return target.getvalue()
