"""Reading stills: pictures as cameras and aircraft take them one by one."""

import struct
import warnings
from pathlib import Path

import cv2
import numpy as np
from PIL.JpegImagePlugin import JpegImageFile

from enforcement.errors import BadFootage
from media.footage import Image

_MAX_PIXELS = 12_000 * 12_000
"""Twice as many as the largest cameras of aircraft have."""

_DAMAGED = (OSError, SyntaxError, ValueError, TypeError, IndexError, KeyError, struct.error)
"""What Pillow raises on damaged files."""


def read_still(path: Path, height_px: int | None = None) -> Image:
    """``(H, W, 3)`` uint8 BGR, at most ``height_px`` lines high; never enlarged, never turned.

    Raises BadFootage if it is no JPEG or not a whole one: what a damaged one lacks would look like
    a change on the ground.
    """
    try:
        with warnings.catch_warnings():
            # Of damaged headers: nothing in them is read here.
            warnings.simplefilter("ignore")
            # Not by ``PIL.Image.open``: ultralytics puts a function of its own in its place.
            with JpegImageFile(path) as still:
                if still.width * still.height > _MAX_PIXELS:
                    raise ValueError(f"{still.width}×{still.height} pixels are too many")
                if height_px is not None:
                    # Decoded no larger than needed.
                    still.draft("RGB", (1, height_px))
                picture = np.asarray(still.convert("RGB"), np.uint8)[:, :, ::-1]
    except _DAMAGED as error:
        raise BadFootage(f"{path.name}: is no whole JPEG ({error}).") from error
    height, width = picture.shape[:2]
    if height_px is None or height <= height_px:
        return np.ascontiguousarray(picture)
    size = max(1, round(width * height_px / height)), height_px
    return np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), np.uint8)
