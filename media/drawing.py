"""Boxes, zones and their labels drawn into pictures, and pictures as JPEG.

Everything scales with the picture, so that a 320-pixel and a 4K frame read alike, and everything
is deterministic: the same picture and boxes give the same pixels.
"""

from collections.abc import Sequence

import cv2
import numpy as np

from enforcement.errors import BadFootage
from enforcement.geometry import Box
from enforcement.places import Zone
from media.footage import Image

_FONT = cv2.FONT_HERSHEY_SIMPLEX
_COLOURS_BGR = (
    (0, 176, 255),
    (214, 166, 38),
    (106, 187, 102),
    (188, 71, 171),
    (80, 83, 239),
    (212, 188, 0),
)
"""Amber, blue, green, violet, red, cyan: told apart on asphalt, grass and at night."""
_ZONE_BGR = (92, 92, 255)
_INK_LIGHT, _INK_DARK = (255, 255, 255), (24, 24, 24)


def draw_boxes(image: Image, boxes: Sequence[tuple[Box, str]]) -> Image:
    """A copy of the picture with each box outlined and its label on a plate of its colour.

    Labels stay inside the picture. Characters that the built-in font lacks become ``?``, so
    labels should be ASCII.
    """
    canvas = image.copy()
    size = _stroke_px(image)
    plates: list[tuple[int, int, int, int]] = []
    for number, (box, label) in enumerate(boxes):
        colour = _COLOURS_BGR[number % len(_COLOURS_BGR)]
        left, top, right, bottom = _box_px(image, box)
        cv2.rectangle(canvas, (left, top), (right, bottom), _INK_DARK, size + 2, cv2.LINE_AA)
        cv2.rectangle(canvas, (left, top), (right, bottom), colour, size, cv2.LINE_AA)
        if label:
            _draw_label(canvas, label, (left, top, bottom), colour, plates)
    return canvas


def draw_zones(image: Image, zones: Sequence[Zone]) -> Image:
    """A copy of the picture with each zone tinted, outlined and named by its ``zone_id``."""
    tinted = image.copy()
    corners = [_corners_px(image, zone) for zone in zones]
    for outline in corners:
        cv2.fillPoly(tinted, [outline], _ZONE_BGR, cv2.LINE_AA)
    canvas = np.asarray(cv2.addWeighted(image, 0.88, tinted, 0.12, 0.0), dtype=np.uint8)
    for outline in corners:
        cv2.polylines(canvas, [outline], True, _ZONE_BGR, _stroke_px(image), cv2.LINE_AA)
    plates: list[tuple[int, int, int, int]] = []
    for zone, outline in zip(zones, corners, strict=True):
        x, y = (int(v) for v in min(outline.tolist(), key=lambda corner: (corner[1], corner[0])))
        _draw_label(canvas, zone.zone_id, (x, y, int(outline[:, 1].max())), _ZONE_BGR, plates)
    return canvas


def encode_jpeg(image: Image, quality: int = 90) -> bytes:
    """The picture as a baseline JPEG; the same picture gives the same bytes."""
    ok, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])
    if not ok:
        raise BadFootage("A picture could not be encoded as JPEG.")
    return data.tobytes()


def _stroke_px(image: Image) -> int:
    return max(1, round(int(min(image.shape[:2])) / 270))


def _box_px(image: Image, box: Box) -> tuple[int, int, int, int]:
    height, width = image.shape[:2]
    left, right = round(box.left * (width - 1)), round(box.right * (width - 1))
    return left, round(box.top * (height - 1)), right, round(box.bottom * (height - 1))


def _corners_px(image: Image, zone: Zone) -> "np.ndarray[tuple[int, int], np.dtype[np.int32]]":
    height, width = image.shape[:2]
    return np.array(
        [(round(x * (width - 1)), round(y * (height - 1))) for x, y in zone.polygon], np.int32
    )


def _draw_label(
    canvas: Image,
    label: str,
    place: tuple[int, int, int],
    colour: tuple[int, int, int],
    plates: list[tuple[int, int, int, int]],
) -> None:
    """Write the label above ``(left, top, bottom)``, or below, or inside, clear of others."""
    height, width = canvas.shape[:2]
    scale = max(0.3, min(height, width) / 1100)
    thickness = max(1, round(scale * 1.8))
    pad = max(2, round(scale * 9))
    (text_w, text_h), drop = cv2.getTextSize(label, _FONT, scale, thickness)
    plate_w, plate_h = text_w + 2 * pad, text_h + drop + 2 * pad
    left, top, bottom = place
    x = max(0, min(left, width - plate_w))
    candidates = (top - plate_h, bottom + 1, top + 1, top - 2 * plate_h, bottom + plate_h)
    fitting = [y for y in candidates if 0 <= y <= height - plate_h]
    free = [y for y in fitting if not _overlaps((x, y, x + plate_w, y + plate_h), plates)]
    y = (free or fitting or [0])[0]
    plates.append((x, y, x + plate_w, y + plate_h))
    cv2.rectangle(canvas, (x, y), (x + plate_w, y + plate_h), colour, cv2.FILLED)
    luma = 0.114 * colour[0] + 0.587 * colour[1] + 0.299 * colour[2]
    ink = _INK_DARK if luma > 120 else _INK_LIGHT
    cv2.putText(
        canvas, label, (x + pad, y + pad + text_h), _FONT, scale, ink, thickness, cv2.LINE_AA
    )


def _overlaps(plate: tuple[int, int, int, int], others: list[tuple[int, int, int, int]]) -> bool:
    left, top, right, bottom = plate
    return any(left < o[2] and o[0] < right and top < o[3] and o[1] < bottom for o in others)
