"""People and vehicles for the rendered scenes, cut from the picture that ultralytics ships.

Detectors don't take drawn figures for people, so real pixels are needed. Only the file is read;
the package is not imported. All is computed once a process, from fixed outlines, without chance.
"""

from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import cast

import cv2
import numpy as np
from numpy.typing import NDArray

from enforcement.errors import ConfigurationError
from media.footage import Image

Corners = tuple[tuple[int, int], ...]
FloatImage = NDArray[np.float32]

BUS_HEIGHT_M = 2.95
PERSON_HEIGHT_M = 1.78
BAG_HEIGHT_M = 0.62
WALK_PHASES = 12


@dataclass(frozen=True)
class Cutout:
    """Pixels ``(H, W, 3)`` float32 BGR 0–255 with their opacity ``(H, W, 1)`` 0–1."""

    image: FloatImage
    alpha: FloatImage

    def sized(self, height_px: int, *, mirrored: bool = False) -> "Cutout":
        """Scaled to this height, proportions kept."""
        height, width = self.alpha.shape[:2]
        size = (max(1, round(width * height_px / height)), height_px)
        # Scaled with premultiplied opacity, or what lies outside the outline bleeds in.
        layers = cv2.resize(
            np.concatenate([self.image * self.alpha, self.alpha], axis=2),
            size,
            interpolation=cv2.INTER_AREA if height_px < height else cv2.INTER_LINEAR,
        ).astype(np.float32)
        if mirrored:
            layers = np.ascontiguousarray(layers[:, ::-1])
        alpha = np.clip(layers[..., 3:], 0, 1).astype(np.float32)
        colours = layers[..., :3] / np.maximum(alpha, 1e-3)
        return Cutout(colours.astype(np.float32), alpha)


@dataclass(frozen=True)
class _Trace:
    """Where somebody stands in the picture, and what GrabCut is told for certain (pixels)."""

    rect: tuple[int, int, int, int]
    inside: tuple[Corners, ...]
    outside: tuple[Corners, ...]


_MAN_IN_PALE_COAT = _Trace(
    rect=(40, 385, 255, 912),
    inside=(
        ((110, 430), (150, 430), (150, 470), (110, 470)),
        ((100, 480), (150, 480), (170, 560), (170, 680), (90, 680), (85, 560)),
        ((80, 720), (120, 700), (95, 830), (75, 830)),
        ((140, 700), (170, 700), (190, 840), (180, 840)),
        ((60, 862), (95, 875), (95, 895), (65, 890)),
        ((180, 868), (210, 868), (235, 885), (180, 890)),
    ),
    outside=(
        ((200, 385), (255, 385), (255, 840), (215, 840), (205, 560)),
        ((40, 385), (95, 385), (95, 440), (60, 500), (52, 540), (40, 560)),
        ((40, 385), (54, 385), (54, 700), (40, 700)),
        ((40, 697), (74, 701), (76, 730), (71, 770), (64, 810), (57, 840), (40, 840)),
        ((124, 728), (92, 775), (84, 815), (82, 832), (160, 832), (146, 785)),
    ),
)
_MAN_IN_DARK_COAT = _Trace(
    rect=(212, 395, 352, 868),
    inside=(
        ((270, 420), (300, 420), (300, 460), (270, 460)),
        ((260, 500), (320, 500), (325, 560), (310, 640), (310, 690), (240, 690), (250, 560)),
        ((260, 720), (290, 720), (275, 810), (258, 810)),
        ((265, 830), (285, 840), (285, 850), (262, 850)),
        ((284, 783), (294, 783), (298, 819), (286, 813)),
    ),
    outside=(
        ((312, 395), (352, 395), (352, 690), (345, 690), (345, 500), (312, 470)),
        ((212, 395), (258, 395), (258, 470), (235, 500), (228, 520), (225, 680), (212, 700)),
        ((212, 720), (240, 720), (240, 868), (212, 868)),
        ((325, 750), (352, 690), (352, 868), (302, 868), (302, 800)),
        ((330, 574), (352, 574), (352, 590), (336, 590)),
    ),
)
# fmt: off
_BUS_OUTLINE: Corners = (
    (62, 285), (82, 258), (150, 243), (215, 232), (300, 233), (560, 252), (690, 262), (728, 282),
    (745, 303), (788, 318), (797, 345), (803, 420), (803, 560), (790, 650), (760, 655), (745, 672),
    (715, 678), (695, 668), (688, 650), (560, 668), (400, 692), (372, 700), (362, 725), (340, 735),
    (320, 722), (180, 722), (60, 705), (22, 690), (18, 600), (22, 540), (38, 420), (40, 330),
)
_IN_FRONT_OF_BUS: tuple[Corners, ...] = (
    ((0, 550), (34, 585), (62, 690), (62, 740), (0, 740)),
    ((40, 690), (82, 690), (82, 800), (40, 800)),
    ((110, 690), (160, 690), (160, 830), (110, 830)),
    ((425, 655), (462, 655), (464, 765), (424, 765)),
    ((655, 620), (692, 620), (692, 720), (655, 720)),
    ((718, 555), (728, 538), (770, 535), (772, 480), (788, 450), (782, 395), (810, 385),
     (810, 900), (740, 700), (748, 672), (725, 560)),
)
_BUS_PANELS: tuple[tuple[tuple[int, int, int], Corners], ...] = (
    ((52, 50, 48), ((18, 300), (246, 296), (246, 556), (18, 552))),
    ((44, 40, 38), ((252, 300), (362, 300), (362, 516), (325, 532), (252, 552))),
    ((46, 44, 42), ((530, 320), (772, 320), (786, 478), (776, 504), (530, 528))),
    ((186, 112, 26), ((16, 554), (246, 558), (325, 536), (380, 516), (380, 630), (330, 600),
                      (300, 640), (296, 684), (16, 664))),
    ((186, 112, 26), ((700, 530), (806, 500), (806, 655), (762, 640), (744, 575), (712, 562))),
    ((142, 146, 140), ((16, 664), (296, 684), (310, 740), (16, 712))),
    ((142, 146, 140), ((400, 664), (700, 634), (700, 680), (400, 706))),
)
"""Colours of windscreen, windows, sides and sill, BGR, for what the passers-by hide."""
# fmt: on


def _asset() -> Image:
    spec = find_spec("ultralytics")
    roots = list(spec.submodule_search_locations or ()) if spec else []
    path = Path(roots[0], "assets", "bus.jpg") if roots else None
    image = cv2.imread(str(path)) if path and path.is_file() else None
    if image is None or image.shape != (1080, 810, 3):
        raise ConfigurationError(
            "The demo scenes need the picture assets/bus.jpg of the package ultralytics: "
            "pip install ultralytics."
        )
    return cast(Image, image)


@cache
def people() -> tuple[Cutout, ...]:
    """Two men who walk, and the same two in other clothes; all step to the right."""
    pale, dark = _person(_MAN_IN_PALE_COAT), _person(_MAN_IN_DARK_COAT)
    olive = _dyed(pale, (0.42, 0.62, 0.55))
    grey = _dyed(dark, (1.55, 1.35, 1.25))
    return pale, dark, olive, grey


def dressed(
    figure: int, coat_bgr: tuple[float, float, float], trousers_bgr: tuple[float, float, float]
) -> Cutout:
    """One of `people` with coat and trousers multiplied by these factors."""
    person = _dyed(people()[figure], coat_bgr)
    height = person.alpha.shape[0]
    rows = np.arange(height, dtype=np.float32)[:, None, None] / height
    legs = np.clip((rows - 0.6) / 0.03, 0, 1) * np.clip((0.9 - rows) / 0.03, 0, 1)
    factors = 1 + legs * (np.array(trousers_bgr, np.float32) - 1)
    return Cutout(np.clip(person.image * factors, 0, 255).astype(np.float32), person.alpha)


@cache
def bus() -> Cutout:
    """A small bus, front to the left, with the passers-by before it painted out.

    The shade under it belongs to the cut-out; its rectangle is that of the bus alone.
    """
    picture = _asset()
    hidden = np.zeros(picture.shape[:2], np.uint8)
    for trace in (_MAN_IN_PALE_COAT, _MAN_IN_DARK_COAT):
        left, top, right, bottom = trace.rect
        hidden[top:bottom, left:right] |= _mask(trace)
    for shape in _IN_FRONT_OF_BUS:
        _fill(hidden, shape, 255)
    hidden = cast(Image, cv2.dilate(hidden, np.ones((13, 13), np.uint8)))
    panels = picture.copy()
    for colour, shape in _BUS_PANELS:
        _fill(panels, shape, colour)
    outline = np.zeros(picture.shape[:2], np.uint8)
    _fill(outline, _BUS_OUTLINE, 255)
    half = (picture.shape[1] // 2, picture.shape[0] // 2)
    small, small_panels = (cv2.resize(i, half, interpolation=cv2.INTER_AREA) for i in
                           (picture, panels))  # fmt: skip
    gap = cv2.resize(hidden, half, interpolation=cv2.INTER_NEAREST)
    smooth = cv2.inpaint(small, gap, 4, cv2.INPAINT_TELEA).astype(np.float32)
    painted = cv2.GaussianBlur(small_panels, (0, 0), 1.2).astype(np.float32)
    weight = cv2.GaussianBlur(gap, (0, 0), 3.0)[..., None].astype(np.float32) / 255
    filled = np.where(gap[..., None] > 0, 0.25 * smooth + 0.75 * painted, small)
    image = (filled * weight + smooth * (1 - weight)).astype(np.float32)
    alpha = cv2.resize(outline, half, interpolation=cv2.INTER_AREA)
    return _on_its_shade(_cropped(image, cv2.GaussianBlur(alpha, (0, 0), 0.7)))


def _on_its_shade(vehicle: Cutout) -> Cutout:
    """Fill the gap between sill and ground with shade, or the bus seems to hover."""
    height, width = vehicle.alpha.shape[:2]
    shade = np.zeros((height, width), np.uint8)
    corners = ((0, 0.9), (0.4, 1.0), (0.92, 0.892), (0.995, 0.84), (0.99, 0.7), (0.02, 0.7))
    _fill(shade, tuple((round(x * width), round(y * height)) for x, y in corners), 255)
    dark = cv2.GaussianBlur(shade, (0, 0), 2.5)[..., None].astype(np.float32) / 255 * 0.72
    alpha = np.maximum(vehicle.alpha, dark).astype(np.float32)
    image = vehicle.image * vehicle.alpha / np.maximum(alpha, 1e-3)
    return Cutout(image.astype(np.float32), alpha)


@cache
def bag() -> Cutout:
    """A tied refuse sack, drawn: dark green film with creases that catch the light.

    Green, because YOLOv8n takes a black or red sack of this shape for a person now and then
    (confidence up to 0.5 after compression), and a person doesn't count as left behind.
    """
    size = 240
    shape = np.zeros((size, size), np.uint8)
    body = [(40, 236), (18, 205), (16, 160), (38, 112), (82, 80), (104, 62), (92, 30), (106, 40)]
    body += [(120, 22), (132, 42), (150, 28), (138, 62), (160, 82), (204, 116), (226, 164)]
    body += [(222, 208), (198, 236)]
    cv2.fillPoly(shape, [np.array(body, np.int32)], 255, cv2.LINE_AA)
    y, x = np.mgrid[0:size, 0:size].astype(np.float32) / size
    light = np.exp(-(((x - 0.36) / 0.2) ** 2 + ((y - 0.55) / 0.26) ** 2))
    chance = np.random.default_rng(7)
    creases = np.zeros((size, size), np.float32)
    for _ in range(46):
        x0, spread = chance.uniform(70, 170), chance.uniform(-100, 100)
        end = (round(x0 + spread), round(chance.uniform(120, 235)))
        shine = float(chance.uniform(0.15, 0.8))
        cv2.line(creases, (round(118 + (x0 - 120) * 0.2), 66), end, shine, 2, cv2.LINE_AA)
    shines = cv2.GaussianBlur(creases, (0, 0), 1.6).astype(np.float32)
    tone = 26 + 62 * light + 78 * shines * (0.35 + light)
    image = (np.dstack([tone * 1.15, tone * 1.55, tone * 0.75]) + 6).astype(np.float32)
    return _cropped(image, cv2.GaussianBlur(shape, (0, 0), 1.2))


@cache
def foliage() -> FloatImage:
    """A patch of leaves in the sun, ``(H, W, 3)`` float32 BGR."""
    return np.ascontiguousarray(_asset()[100:250, 4:100]).astype(np.float32)


@cache
def facade() -> FloatImage:
    """The upper storey of a house front with balconies, ``(H, W, 3)`` float32 BGR."""
    return np.ascontiguousarray(_asset()[0:226, 160:425]).astype(np.float32)


def walking(cutout: Cutout, height_px: int, *, mirrored: bool) -> list[Cutout]:
    """The figure at this height in the phases of one step: the legs close and open again."""
    figure = cutout.sized(height_px, mirrored=mirrored)
    height, width = figure.alpha.shape[:2]
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    hip, middle = 0.58 * height, 0.47 * width if not mirrored else 0.53 * width
    below = np.clip((y - hip) / (height - hip), 0.0, 1.0)
    phases = []
    for phase in range(WALK_PHASES):
        closing = 0.5 - 0.5 * np.cos(2 * np.pi * phase / WALK_PHASES)
        source_x = (middle + (x - middle) / (1 - 0.48 * closing * below)).astype(np.float32)
        layers = np.concatenate([figure.image, figure.alpha], axis=2)
        moved = cv2.remap(layers, source_x, y, cv2.INTER_LINEAR).astype(np.float32)
        phases.append(Cutout(moved[..., :3], np.ascontiguousarray(moved[..., 3:])))
    return phases


def _person(trace: _Trace) -> Cutout:
    left, top, right, bottom = trace.rect
    picture = _asset()[top:bottom, left:right].astype(np.float32)
    mask = _mask(trace)
    # Half a pixel inwards: the rim still holds light of the old background.
    soft = cv2.GaussianBlur(cv2.erode(mask, np.ones((3, 3), np.uint8)), (0, 0), 1.1)
    return _cropped(picture, soft)


@cache
def _mask(trace: _Trace) -> Image:
    left, top, right, bottom = trace.rect
    part = np.ascontiguousarray(_asset()[top:bottom, left:right])
    mask = np.full(part.shape[:2], cv2.GC_PR_FGD, np.uint8)
    mask[:6] = mask[-4:] = cv2.GC_BGD
    mask[:, :3] = mask[:, -3:] = cv2.GC_BGD
    for shapes, value in ((trace.outside, cv2.GC_BGD), (trace.inside, cv2.GC_FGD)):
        for shape in shapes:
            _fill(mask, tuple((x - left, y - top) for x, y in shape), value)
    cv2.setRNGSeed(1)
    back, fore = np.zeros((1, 65)), np.zeros((1, 65))
    cv2.grabCut(part, mask, (0, 0, 1, 1), back, fore, 6, cv2.GC_INIT_WITH_MASK)
    sure = (mask == cv2.GC_FGD) | (mask == cv2.GC_PR_FGD)
    count, labels, stats, _ = cv2.connectedComponentsWithStats(sure.astype(np.uint8))
    body = 1 + int(np.argmax(stats[1:, cv2.CC_STAT_AREA])) if count > 1 else 0
    return cast(Image, np.where(labels == body, 255, 0).astype(np.uint8))


def _dyed(cutout: Cutout, factors_bgr: tuple[float, float, float]) -> Cutout:
    """The coat in another colour; head and shoes stay as they are."""
    height = cutout.alpha.shape[0]
    rows = np.arange(height, dtype=np.float32)[:, None, None] / height
    coat = np.clip((rows - 0.15) / 0.04, 0, 1) * np.clip((0.62 - rows) / 0.04, 0, 1)
    factors = 1 + coat * (np.array(factors_bgr, np.float32) - 1)
    return Cutout(np.clip(cutout.image * factors, 0, 255).astype(np.float32), cutout.alpha)


def _cropped(image: FloatImage, mask: NDArray[np.generic]) -> Cutout:
    """Cut to the smallest rectangle, so that the rectangle of a figure is its true box."""
    alpha = np.asarray(mask, np.float32)[..., None] / 255
    ys, xs = np.nonzero(alpha[..., 0] > 0.5)
    window = slice(int(ys.min()), int(ys.max()) + 1), slice(int(xs.min()), int(xs.max()) + 1)
    return Cutout(np.ascontiguousarray(image[window]), np.ascontiguousarray(alpha[window]))


def _fill(canvas: Image, shape: Corners, colour: int | tuple[int, int, int]) -> None:
    value = (colour,) if isinstance(colour, int) else colour
    cv2.fillPoly(canvas, [np.array(shape, np.int32)], value)
