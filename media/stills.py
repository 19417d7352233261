"""Reading stills: pictures as cameras and aircraft take them one by one."""

import warnings
from pathlib import Path

import cv2
import numpy as np
from PIL import Image as Pillow
from PIL import UnidentifiedImageError

from enforcement.errors import BadFootage
from media.footage import Image


def read_still(path: Path, height_px: int | None = None) -> Image:
    """``(H, W, 3)`` uint8 BGR, at most ``height_px`` lines high; never enlarged, never turned.

    Raises BadFootage if it is no JPEG or not a whole one: what a damaged one lacks would look like
    a change on the ground.
    """
    try:
        with warnings.catch_warnings():
            # Of damaged headers, and of pictures as large as aircraft take them.
            warnings.simplefilter("ignore")
            with Pillow.open(path, formats=("JPEG",)) as still:
                if height_px is not None:
                    # Decoded no larger than needed.
                    still.draft("RGB", (1, height_px))
                picture = np.asarray(still.convert("RGB"), np.uint8)[:, :, ::-1]
    except UnidentifiedImageError as error:
        raise BadFootage(f"{path.name}: is no JPEG.") from error
    except (OSError, SyntaxError, ValueError, Pillow.DecompressionBombError) as error:
        raise BadFootage(f"{path.name}: is no whole JPEG ({error}).") from error
    height, width = picture.shape[:2]
    if height_px is None or height <= height_px:
        return np.ascontiguousarray(picture)
    size = max(1, round(width * height_px / height)), height_px
    return np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), np.uint8)
