"""Facts about drawing boxes, zones and labels."""

import cv2
import numpy as np
import pytest

from enforcement.geometry import Box, Point
from enforcement.places import Zone, ZonePurpose
from media.drawing import draw_boxes, draw_zones, encode_jpeg

BOX = Box(0.25, 0.25, 0.75, 0.75)


@pytest.mark.parametrize("size", [(90, 160), (720, 1280), (2160, 3840), (400, 100)])
def test_a_box_is_drawn_on_its_edges_at_any_size(size: tuple[int, int]) -> None:
    image = np.full((*size, 3), 100, np.uint8)
    drawn = draw_boxes(image, [(BOX, "person 0.91")])
    height, width = size
    row, column = round(0.5 * (height - 1)), round(0.75 * (width - 1))
    assert (drawn[row, column] != 100).any()
    assert (drawn[round(0.75 * (height - 1)), width // 2] != 100).any()
    assert (drawn[round(0.6 * height), round(0.6 * width)] == 100).all()


def test_drawing_leaves_the_original_alone() -> None:
    image = np.full((240, 320, 3), 100, np.uint8)
    draw_boxes(image, [(BOX, "x")])
    draw_zones(image, [Zone(zone_id="whole", purpose=ZonePurpose.FORBIDDEN)])
    assert (image == 100).all()


@pytest.mark.parametrize("box", [Box(0.9, 0.0, 1.0, 0.1), Box(0, 0, 1, 1), Box(0.9, 0.9, 1, 1)])
def test_a_label_is_never_cut_off(box: Box) -> None:
    image = np.full((360, 640, 3), 100, np.uint8)
    labelled = draw_boxes(image, [(box, "person 0.91")])
    plain = draw_boxes(image, [(box, "")])
    plate = np.argwhere((labelled != plain).any(axis=2))
    middle = draw_boxes(image, [(BOX, "person 0.91")])
    full = np.argwhere((middle != draw_boxes(image, [(BOX, "")])).any(axis=2))
    assert np.ptp(plate[:, 1]) == pytest.approx(np.ptp(full[:, 1]), abs=8)
    assert np.ptp(plate[:, 0]) == pytest.approx(np.ptp(full[:, 0]), abs=8)


def test_labels_of_things_side_by_side_dont_hide_each_other() -> None:
    image = np.full((360, 640, 3), 100, np.uint8)
    near = Box(0.27, 0.25, 0.77, 0.75)
    one = draw_boxes(image, [(BOX, "person"), (near, "")])
    both = draw_boxes(image, [(BOX, "person"), (near, "person")])
    plate = slice(round(0.25 * 360) - 14, round(0.25 * 360) - 4), slice(166, 200)
    assert (both[plate] == one[plate]).all()


def test_a_zone_is_tinted_inside_and_not_outside() -> None:
    image = np.full((200, 200, 3), 100, np.uint8)
    corners = (Point(0.4, 0.4), Point(0.9, 0.4), Point(0.9, 0.9), Point(0.4, 0.9))
    zone = Zone(zone_id="gate", purpose=ZonePurpose.FORBIDDEN, polygon=corners)
    drawn = draw_zones(image, [zone])
    assert (drawn[140, 140] != 100).any()
    assert (drawn[20, 20] == 100).all()


def test_a_jpeg_is_the_same_bytes_each_time_and_decodes_to_the_picture() -> None:
    chance = np.random.default_rng(1).integers(0, 255, (120, 160, 3), np.uint8)
    image = np.asarray(cv2.GaussianBlur(chance, (0, 0), 5), dtype=np.uint8)
    data = encode_jpeg(image)
    assert data == encode_jpeg(image)
    assert data[:2] == b"\xff\xd8"
    back = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    assert back is not None
    assert float(np.abs(back.astype(int) - image.astype(int)).mean()) < 4
    assert len(encode_jpeg(image, quality=30)) < len(data)
