"""From a place in a picture to a place on the ground, with how sure that is; and back.

The ground is a level plane at a stated height, the lens draws straight lines (no distortion), the
pixels are square. Within 200 m the plane and the ellipsoid's curve agree to centimetres; slopes,
walls and what stands on the ground do not lie in the plane, and no radius here covers that.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NamedTuple

from pyproj import Geod

from enforcement.errors import NoGroundPosition
from enforcement.flights import AircraftPose, GroundPoint
from enforcement.geometry import Point

LOWEST_DEPRESSION_DEG = 5.0
"""A ray must fall at least this steeply. At 86 m height and 5° one degree of pitch moves the place
by 200 m: such a place is worth nothing, and below that one even the side may be wrong."""

SIGMAS_OF_95_PERCENT = math.sqrt(-2.0 * math.log(0.05))
"""Radius that holds 95 % of a circular normal distribution, in standard deviations: 2.448. For a
longish distribution the circle with the longer axis holds more."""

METRES_PER_DEGREE = 111_320.0
"""Of longitude at the equator, of latitude nearly everywhere (WGS84: 110,574 to 111,694)."""

FILM_DIAGONAL_MM = math.hypot(36.0, 24.0)
"""Equivalent focal lengths compare diagonals with the frame of 35 mm film (CIPA DCG-001)."""

_WGS84 = Geod(ellps="WGS84")


@dataclass(frozen=True, slots=True)
class PoseErrors:
    """One standard deviation of each. Where nothing better is known, those of a consumer drone:
    1° of pitch and of yaw and 5 m of height are the spans that the project's measurements of
    sensitivity go by; 1.5 m is the hovering accuracy that makers of such aircraft state."""

    pitch_deg: float = 1.0
    yaw_deg: float = 1.0
    roll_deg: float = 0.5
    height_m: float = 5.0
    position_m: float = 1.5
    """Along each axis; the rounding of the stated position comes on top."""
    focal_share: float = 0.02
    """Of the focal length, one part in fifty: it is stated in whole millimetres, about 24."""


@dataclass(frozen=True, slots=True)
class View:
    """A camera over the ground: of an aircraft, or one that is fixed to a mast."""

    latitude_deg: float
    longitude_deg: float
    height_m: float
    """Of the lens above the ground that it looks at."""
    yaw_deg: float
    """Clockwise from true north."""
    pitch_deg: float
    """Above the horizon; -90 looks straight down."""
    horizontal_fov_deg: float
    aspect: float
    """Width over height of the picture."""
    roll_deg: float = 0.0
    """About the axis of the lens, right side down."""
    position_step_deg: float = 0.0
    """The last decimal of the stated position; 0 if that is no limit."""

    def __post_init__(self) -> None:
        """Raises NoGroundPosition for what is no view of the ground."""
        if not all(math.isfinite(getattr(self, name)) for name in self.__slots__):
            raise NoGroundPosition("The view holds a number that is none.")
        if self.height_m <= 0:
            raise NoGroundPosition(f"The camera is {self.height_m:.1f} m above the ground.")
        if not 0 < self.horizontal_fov_deg < 180 or self.aspect <= 0:
            raise NoGroundPosition("The camera's field of view or aspect is impossible.")
        if abs(self.latitude_deg) > 90 or abs(self.longitude_deg) > 180:
            raise NoGroundPosition("The camera's position is impossible.")


class GroundFix(NamedTuple):
    """Where something in a picture is on the ground."""

    place: GroundPoint
    radius_m: float
    """It is within this with 95 % probability, if the ground is level and the errors are so."""
    distance_m: float
    """From the place straight below the camera."""
    depression_deg: float
    """How steeply the ray falls."""


def horizontal_fov_deg(
    *,
    aspect: float,
    diagonal_fov_deg: float | None = None,
    focal_length_35mm_mm: float | None = None,
    sensor_aspect: float = 4 / 3,
) -> float:
    """The horizontal field of view, from a diagonal one or an equivalent focal length.

    Both are stated for the whole sensor; a wider picture is taken to be cut from it at full width,
    a narrower one at full height. Raises NoGroundPosition without either.
    """
    if diagonal_fov_deg is not None and 0 < diagonal_fov_deg < 180:
        half_diagonal = math.tan(math.radians(diagonal_fov_deg) / 2)
    elif focal_length_35mm_mm is not None and focal_length_35mm_mm > 0:
        half_diagonal = FILM_DIAGONAL_MM / 2 / focal_length_35mm_mm
    else:
        raise NoGroundPosition("Neither field of view nor focal length of the camera is known.")
    half_height = half_diagonal / math.hypot(1.0, sensor_aspect)
    return math.degrees(2 * math.atan(half_height * min(aspect, sensor_aspect)))


def view_from_pose(
    pose: AircraftPose,
    *,
    aspect: float,
    fov_deg: float | None = None,
    ground_altitude_m: float | None = None,
    ground_above_take_off_m: float = 0.0,
    sensor_aspect: float = 4 / 3,
) -> View:
    """The view of an aircraft's camera.

    ``fov_deg``: the horizontal field of view where it is known better than the pose states it.
    Height is counted from ``ground_altitude_m`` (above sea level) where that and the pose's
    altitude are known, otherwise from the place of take-off. Raises NoGroundPosition, naming it,
    if the pose lacks what is needed.
    """
    if pose.gimbal_pitch_deg is None or pose.gimbal_yaw_deg is None:
        raise NoGroundPosition("The telemetry does not say where the camera looked.")
    if ground_altitude_m is not None and pose.altitude_m is not None:
        height_m = pose.altitude_m - ground_altitude_m
    elif pose.height_m is not None:
        height_m = pose.height_m - ground_above_take_off_m
    else:
        raise NoGroundPosition("The telemetry states no height whose origin is known.")
    fov = fov_deg if fov_deg is not None else pose.horizontal_fov_deg
    if fov is None:
        fov = horizontal_fov_deg(
            aspect=aspect,
            focal_length_35mm_mm=pose.focal_length_35mm_mm,
            sensor_aspect=sensor_aspect,
        )
    return View(
        latitude_deg=pose.latitude_deg,
        longitude_deg=pose.longitude_deg,
        height_m=height_m,
        yaw_deg=pose.gimbal_yaw_deg,
        pitch_deg=pose.gimbal_pitch_deg,
        roll_deg=pose.gimbal_roll_deg or 0.0,
        horizontal_fov_deg=fov,
        aspect=aspect,
        position_step_deg=pose.position_step_deg,
    )


def ground_position(
    view: View,
    point: Point,
    errors: PoseErrors = PoseErrors(),
) -> GroundFix:
    """The ground under a place in the picture (fractions, origin top-left).

    Raises NoGroundPosition where the ray does not fall at least ``LOWEST_DEPRESSION_DEG``, nor so
    steeply that three standard deviations of the angles cannot lift it there to the horizon.
    """
    ray = _ray(view, point)
    depression_deg = math.degrees(math.asin(max(-1.0, min(1.0, ray[2]))))
    lowest_deg = max(LOWEST_DEPRESSION_DEG, 3 * math.hypot(errors.pitch_deg, errors.roll_deg))
    if depression_deg < lowest_deg:
        raise NoGroundPosition(
            f"The ray falls by {depression_deg:.1f}°, less than {lowest_deg:.1f}°: too near the "
            "horizon."
        )
    north, east = _footprint(view, point)
    distance_m = math.hypot(north, east)
    azimuth_deg = math.degrees(math.atan2(east, north))
    longitude, latitude, _ = _WGS84.fwd(
        view.longitude_deg, view.latitude_deg, azimuth_deg, distance_m
    )
    return GroundFix(
        GroundPoint(float(latitude), float(longitude)),
        _radius(view, point, errors),
        distance_m,
        depression_deg,
    )


def image_point(view: View, place: GroundPoint) -> Point | None:
    """Where a place on the ground appears in the picture; None outside of it.

    Nothing is known of what stands in between. The inverse of ``ground_position``.
    """
    azimuth_deg, _, distance_m = _WGS84.inv(
        view.longitude_deg, view.latitude_deg, place.longitude_deg, place.latitude_deg
    )
    azimuth = math.radians(azimuth_deg)
    ground = (distance_m * math.cos(azimuth), distance_m * math.sin(azimuth), view.height_m)
    forward, right, down = (sum(axis[i] * ground[i] for i in range(3)) for axis in _axes(view))
    if forward <= 0:
        return None
    half_width, half_height = _half_sizes(view)
    x = 0.5 + right / forward / half_width / 2
    y = 0.5 + down / forward / half_height / 2
    edge = 1e-6
    if not (-edge <= x <= 1 + edge and -edge <= y <= 1 + edge):
        return None
    return Point(min(1.0, max(0.0, x)), min(1.0, max(0.0, y)))


_Vector = tuple[float, float, float]


def _half_sizes(view: View) -> tuple[float, float]:
    """Half the picture's width and height at distance 1."""
    half_width = math.tan(math.radians(view.horizontal_fov_deg) / 2)
    return half_width, half_width / view.aspect


def _axes(view: View) -> tuple[_Vector, _Vector, _Vector]:
    """Unit vectors forward, right and down of the camera, each as north, east, down."""
    yaw, pitch, roll = (
        math.radians(angle) for angle in (view.yaw_deg, view.pitch_deg, view.roll_deg)
    )
    cy, sy, cp, sp = math.cos(yaw), math.sin(yaw), math.cos(pitch), math.sin(pitch)
    cr, sr = math.cos(roll), math.sin(roll)
    return (
        (cy * cp, sy * cp, -sp),
        (cy * sp * sr - sy * cr, sy * sp * sr + cy * cr, cp * sr),
        (cy * sp * cr + sy * sr, sy * sp * cr - cy * sr, cp * cr),
    )


def _ray(view: View, point: Point) -> _Vector:
    """Unit vector north, east, down through a place in the picture."""
    half_width, half_height = _half_sizes(view)
    weights = (1.0, (point.x - 0.5) * 2 * half_width, (point.y - 0.5) * 2 * half_height)
    axes = _axes(view)
    north, east, down = (
        sum(weight * axis[i] for weight, axis in zip(weights, axes, strict=True)) for i in range(3)
    )
    length = math.sqrt(north * north + east * east + down * down)
    return north / length, east / length, down / length


def _footprint(view: View, point: Point) -> tuple[float, float]:
    """Metres north and east from below the camera to where the ray meets the ground."""
    north, east, down = _ray(view, point)
    return view.height_m * north / down, view.height_m * east / down


def _radius(view: View, point: Point, errors: PoseErrors) -> float:
    """95 % radius by first-order propagation, the errors taken to be independent."""
    step = 1e-4
    wider = math.tan(math.radians(view.horizontal_fov_deg) / 2)
    changes: tuple[tuple[float, Callable[[float], View]], ...] = (
        (errors.pitch_deg, lambda d: replace(view, pitch_deg=view.pitch_deg + d)),
        (errors.yaw_deg, lambda d: replace(view, yaw_deg=view.yaw_deg + d)),
        (errors.roll_deg, lambda d: replace(view, roll_deg=view.roll_deg + d)),
        (errors.height_m / view.height_m,
         lambda d: replace(view, height_m=view.height_m * (1 + d))),
        (errors.focal_share,
         lambda d: replace(view, horizontal_fov_deg=math.degrees(2 * math.atan(wider * (1 + d))))),
    )  # fmt: skip
    rounding_m = view.position_step_deg * METRES_PER_DEGREE / math.sqrt(12)
    nn = ee = errors.position_m**2 + rounding_m**2
    ne = 0.0
    for sigma, changed in changes:
        more, less = _footprint(changed(step), point), _footprint(changed(-step), point)
        north, east = ((a - b) / (2 * step) * sigma for a, b in zip(more, less, strict=True))
        nn, ee, ne = nn + north * north, ee + east * east, ne + north * east
    longest = (nn + ee) / 2 + math.hypot((nn - ee) / 2, ne)
    return SIGMAS_OF_95_PERCENT * math.sqrt(longest)
