"""Where the rendered site lies on the globe, and the subtitles that an aircraft writes beside its
videos."""

from datetime import UTC, datetime
from math import atan2, degrees, hypot
from zoneinfo import ZoneInfo

from pyproj import Geod

from enforcement.flights import AircraftPose, GroundPoint, GroundPolygon
from media.patrol_site import Rectangle

ORIGIN = GroundPoint(31.2304, 121.4737)
"""The site's south-west corner."""
TIME_ZONE = "Asia/Shanghai"
"""Of the local times in the subtitles."""

_WGS84 = Geod(ellps="WGS84")


def ground_point(east_m: float, north_m: float) -> GroundPoint:
    """WGS84 of a place given in metres from the site's corner."""
    azimuth_deg, distance_m = degrees(atan2(east_m, north_m)), hypot(east_m, north_m)
    longitude, latitude, _ = _WGS84.fwd(
        ORIGIN.longitude_deg, ORIGIN.latitude_deg, azimuth_deg, distance_m
    )
    return GroundPoint(float(latitude), float(longitude))


def polygon(area: Rectangle) -> GroundPolygon:
    """The corners of an upright rectangle."""
    west, east, south, north = area
    corners = ((west, south), (east, south), (east, north), (west, north))
    return tuple(ground_point(*corner) for corner in corners)


def subtitles(poses: list[AircraftPose], fps: float) -> str:
    """What a current DJI aircraft writes beside a video: one cue a frame, local time, gimbal."""
    step_ms = round(1000 / fps)
    cues = []
    for number, pose in enumerate(poses, start=1):
        start_s = pose.t_s or 0.0
        local = (pose.moment or datetime(2026, 1, 1, tzinfo=UTC)).astimezone(ZoneInfo(TIME_ZONE))
        clock = f"{local:%Y-%m-%d %H:%M:%S}.{local.microsecond // 1000:03d}"
        cues.append(
            f"{number}\n{_clock(start_s)} --> {_clock(start_s + 1 / fps)}\n"
            f'<font size="28">FrameCnt: {number}, DiffTime: {step_ms}ms\n{clock}\n'
            "[iso: 100] [shutter: 1/1000.0] [fnum: 2.8] [ev: 0] [color_md: default] "
            f"[focal_len: {pose.focal_length_35mm_mm:.2f}] [dzoom_ratio: 1.00], "
            f"[latitude: {pose.latitude_deg:.6f}] [longitude: {pose.longitude_deg:.6f}] "
            f"[rel_alt: {pose.height_m:.3f} abs_alt: {pose.altitude_m:.3f}] [ct: 5500] "
            f"[gb_yaw: {pose.gimbal_yaw_deg:.1f} gb_pitch: {pose.gimbal_pitch_deg:.1f} "
            f"gb_roll: {pose.gimbal_roll_deg:.1f}] </font>\n"
        )
    return "\n".join(cues)


def _clock(t_s: float) -> str:
    milliseconds = round(1000 * t_s)
    seconds, milliseconds = divmod(milliseconds, 1000)
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02d}:{minutes:02d}:{seconds:02d},{milliseconds:03d}"
