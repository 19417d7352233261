"""The labelled crops: ``<set>.tar`` with the pictures, ``<set>.csv`` with one row a picture."""

import csv
import hashlib
import tarfile
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from media.footage import Image

HELD_OUT_PERCENT = 15
"""Share of the training pictures that choose settings and calibrate instead of training."""


@dataclass(frozen=True)
class Crop:
    """One labelled crop, ``image`` as ``(H, W, 3)`` uint8 BGR."""

    image: Image
    label: str
    kind: str
    """What the label is made of, for instance ``heap`` or ``bin``; may be empty."""
    source: str
    """Short name of the collection."""
    licence: str
    picture: str
    """The picture that it was cut from; copies made by augmentation share one name."""
    use: str
    split: str

    @property
    def held_out(self) -> bool:
        """Whether the crop's whole picture is kept from training; by the picture's name alone."""
        return hashlib.sha256(self.picture.encode()).digest()[0] * 100 < HELD_OUT_PERCENT * 256


def read_crops(data_dir: Path, name: str, uses: Iterable[str]) -> list[Crop]:
    """All crops of the set whose column ``use`` is one of ``uses``, in the order of the table."""
    wanted = set(uses)
    with (data_dir / f"{name}.csv").open(encoding="utf-8", newline="") as table:
        rows = [row for row in csv.DictReader(table) if row["use"] in wanted]
    with tarfile.open(data_dir / f"{name}.tar") as archive:
        return [_crop(row, _member(archive, f"{name}/{row['file']}")) for row in rows]


def counts(crops: Sequence[Crop]) -> dict[str, dict[str, int]]:
    """``source (licence)`` → class → how many crops."""
    found: dict[str, dict[str, int]] = {}
    for crop in crops:
        found.setdefault(f"{crop.source} ({crop.licence})", Counter())[crop.label] += 1
    return {source: dict(sorted(classes.items())) for source, classes in sorted(found.items())}


def _member(archive: tarfile.TarFile, name: str) -> bytes:
    member = archive.extractfile(name)
    if member is None:
        raise FileNotFoundError(name)
    return member.read()


def _crop(row: dict[str, str], jpeg: bytes) -> Crop:
    image = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
    if image is None:
        raise ValueError(f"{row['file']} is no picture")
    source, _, path = row["original"].partition("/")
    return Crop(
        image=np.asarray(image, np.uint8),
        label=row["class"],
        kind=row["sub"],
        source=source,
        licence=row["licence"].partition(" (")[0],
        picture=f"{source}/{path.rpartition('/')[2].partition('.rf.')[0]}",
        use=row["use"],
        split=row["split"],
    )
