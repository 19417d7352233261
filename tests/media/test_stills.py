"""Stills: whole pictures of the size that is asked for, or a refusal."""

import io
import random
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from enforcement.errors import BadFootage
from media.stills import read_still


@pytest.fixture(scope="module")
def noise() -> NDArray[np.uint8]:
    """120 x 160, red on the left, no two places alike."""
    picture = np.random.default_rng(1).integers(0, 60, (120, 160, 3), np.uint8)
    picture[:, :80, 0] += 190
    return picture


def coded(picture: NDArray[np.uint8], kind: str = "JPEG", **how: object) -> bytes:
    target = io.BytesIO()
    Image.fromarray(picture).save(target, kind, quality=95, **how)
    return target.getvalue()


def test_a_still_is_read_in_blue_green_red_and_no_larger_than_asked(
    noise: NDArray[np.uint8], tmp_path: Path
) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(coded(noise))
    whole = read_still(path)
    assert whole.shape == (120, 160, 3)
    assert whole[:, :70, 2].mean() > 180 > whole[:, 90:, 2].mean()
    assert whole[..., 0].mean() < 60
    small = read_still(path, 30)
    assert small.shape == (30, 40, 3)
    assert abs(small[:, :17, 2].mean() - whole[:, :70, 2].mean()) < 10
    assert read_still(path, 4000).shape == whole.shape


def test_a_camera_held_on_its_side_is_not_turned_upright(
    noise: NDArray[np.uint8], tmp_path: Path
) -> None:
    """The pose tells how the camera lay; turning the picture would tell it twice."""
    exif = Image.Exif()
    exif[0x0112] = 6
    path = tmp_path / "a.jpg"
    path.write_bytes(coded(noise, exif=exif))
    assert read_still(path).shape == (120, 160, 3)


def test_the_first_picture_of_several_in_one_file_is_taken(
    noise: NDArray[np.uint8], tmp_path: Path
) -> None:
    path = tmp_path / "a.jpg"
    second = Image.fromarray(np.zeros((40, 40, 3), np.uint8))
    path.write_bytes(coded(noise, "MPO", save_all=True, append_images=[second]))
    assert read_still(path).shape == (120, 160, 3)


@pytest.mark.parametrize("lost", [2, 300, 2_000])
def test_a_truncated_still_is_refused_and_never_half_grey(
    noise: NDArray[np.uint8], tmp_path: Path, lost: int
) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(coded(noise)[:-lost])
    with pytest.raises(BadFootage, match="no whole JPEG"):
        read_still(path, 30)


@pytest.mark.parametrize("data", [b"", b"no picture", b"\x89PNG"])
def test_what_is_no_jpeg_is_refused(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(data)
    with pytest.raises(BadFootage, match=r"a\.jpg: is no whole JPEG"):
        read_still(path)


def test_nobody_who_puts_a_function_in_the_place_of_pillows_own_is_in_the_way(
    noise: NDArray[np.uint8], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """ultralytics does, and its own asks for packages that are not there."""
    path = tmp_path / "a.jpg"
    path.write_bytes(coded(noise))
    monkeypatch.setattr(Image, "open", lambda *_: pytest.fail("it was asked"))
    assert read_still(path).shape == (120, 160, 3)


def test_a_picture_larger_than_any_camera_takes_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    data = bytearray(coded(np.zeros((8, 8, 3), np.uint8)))
    size = data.index(b"\xff\xc0") + 5
    data[size : size + 4] = b"\xff\xff\xff\xff"
    path.write_bytes(data)
    with pytest.raises(BadFootage, match="65535×65535 pixels are too many"):
        read_still(path, 60)


def test_damage_anywhere_gives_a_picture_or_a_refusal(
    noise: NDArray[np.uint8], tmp_path: Path
) -> None:
    chance = random.Random(1)
    exif = Image.Exif()
    exif[0x010F] = "DJI"
    wholes = [coded(noise, exif=exif), coded(noise, "MPO", save_all=True, append_images=[])]
    path = tmp_path / "a.jpg"
    refused = 0
    for _ in range(600):
        data = bytearray(chance.choice(wholes))
        for _ in range(chance.randint(1, 5)):
            data[chance.randrange(min(len(data), 900))] = chance.randrange(256)
        path.write_bytes(data)
        try:
            assert read_still(path, 60).shape[2] == 3
        except BadFootage:
            refused += 1
    assert 0 < refused < 600
