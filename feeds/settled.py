"""When a file in a folder counts as finished: by its name, its place and how long it lay still."""

import os
import stat
from datetime import datetime
from pathlib import Path

EMPTY_AFTER_S = 60.0
"""A file that is still empty after this long will not grow any more."""

_UNFINISHED_SUFFIXES = (
    ".part", ".partial", ".filepart", ".crdownload", ".download", ".tmp", ".temp", ".swp", ".lock",
)  # fmt: skip


def is_hidden_or_unfinished(name: str) -> bool:
    """Whether copying programs and editors give such names to what is not to be read (yet)."""
    lower = name.lower()
    return lower.startswith((".", "~")) or lower.endswith((*_UNFINISHED_SUFFIXES, "~"))


def settled_status(path: Path, root: Path, settle_s: float, now: datetime) -> os.stat_result | None:
    """The status of a regular file that has settled; None if it has not, or is no such file.

    ``root`` is resolved; a link that leads out of it gives None.
    """
    try:
        target = path.resolve(strict=True)
        status = target.stat()
    except (OSError, RuntimeError):
        # Gone since it was listed, a link to nowhere or a loop of links.
        return None
    if not stat.S_ISREG(status.st_mode) or not target.is_relative_to(root):
        return None
    # The change time moves with every write, even where a copy sets an old modification time.
    # A modification time ahead of now comes from a device whose clock is wrong.
    present = now.timestamp()
    changed = max(status.st_ctime, status.st_mtime if status.st_mtime <= present else 0.0)
    age_s = present - changed
    if age_s < (settle_s if status.st_size else max(settle_s, EMPTY_AFTER_S)):
        return None
    return status
