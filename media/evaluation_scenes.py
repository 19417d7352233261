"""The rendered evaluation sets: clips with exact truth in two splits that share nothing.

What is tuned on the split ``tuning`` is judged on ``held-back``: other places, looks, vehicles,
things, moments and seeds. Truth follows from the actors; an index entry says what the samples'
index says of real footage (`enforcement.truth.IndexEntry`).
"""

import hashlib
import json
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from enforcement.errors import ConfigurationError, StoreUnavailable
from media.evaluation_clips import EvaluationClip, Split
from media.evaluation_plan import planned

Progress = Callable[[str, int, int], None]
"""Called with a clip's name, its number from 1 and the number of all clips."""


def evaluation_set(split: Split) -> tuple[EvaluationClip, ...]:
    """All clips of a split, the same ones each time."""
    return planned(split)


def render_set(
    split: Split,
    target_dir: Path,
    *,
    names: Iterable[str] = (),
    progress: Progress = lambda name, number, total: None,
) -> Path:
    """Write the split's clips (or those named) as ``<name>.mp4`` and return its ``index.json``.

    What lies there already with the same description is kept. The index holds every clip of the
    split that lies there; it is written after each clip, so that a broken-off run can be used.

    Raises ConfigurationError for an unknown name or a folder with another index, StoreUnavailable
    if nothing can be written.
    """
    clips = {clip.name: clip for clip in evaluation_set(split)}
    wanted = set(names) or set(clips)
    if unknown := sorted(wanted - set(clips)):
        raise ConfigurationError(f"The {split} set has no clip {', '.join(unknown)}.")
    index = target_dir / "index.json"
    try:
        target_dir.mkdir(parents=True, exist_ok=True)
        entries = _entries(index, clips, target_dir)
        chosen = [clip for name, clip in clips.items() if name in wanted]
        for number, clip in enumerate(chosen, start=1):
            if clip.name not in entries:
                file = target_dir / f"{clip.name}.mp4"
                clip.write(file)
                content = file.read_bytes()
                digest = hashlib.sha256(content).hexdigest()
                entries[clip.name] = _entry(clip, digest, len(content))
                _write_index(index, [entries[name] for name in clips if name in entries])
            progress(clip.name, number, len(chosen))
        _write_index(index, [entries[name] for name in clips if name in entries])
    except OSError as error:
        raise StoreUnavailable(f"The {split} set cannot be written: {error}.") from error
    return index


def _entries(index: Path, clips: dict[str, EvaluationClip], folder: Path
             ) -> dict[str, dict[str, Any]]:  # fmt: skip
    """Entries of clips that lie there unchanged, by name."""
    if not index.is_file():
        return {}
    try:
        known = {entry["file"]: entry for entry in json.loads(index.read_text("utf-8"))}
        described = {file: entry["description"] for file, entry in known.items()}
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        raise ConfigurationError(
            f"{folder} holds an index.json of something else; render into another folder."
        ) from error
    kept = {}
    for name, clip in clips.items():
        file = f"{name}.mp4"
        if described.get(file) == clip.digest and (folder / file).is_file():
            kept[name] = _entry(clip, known[file]["sha256"], known[file]["bytes"])
    return kept


def _entry(clip: EvaluationClip, sha256: str, size: int) -> dict[str, Any]:
    return {
        "file": f"{clip.name}.mp4",
        "sha256": sha256,
        "bytes": size,
        "origin": "rendered by this project",
        "licence": "AGPL-3.0-or-later",
        "description": clip.digest,
        "kind": clip.kind,
        "truth": {"what": clip.deed, "place": clip.place.name,
                  "disturbances": list(clip.conditions.disturbances)},
        "video": {"width": clip.view.width_px, "height": clip.view.height_px, "fps": clip.fps,
                  "seconds": clip.duration_s},
        "expect": clip.expect(),
    }  # fmt: skip


def _write_index(index: Path, entries: list[dict[str, Any]]) -> None:
    part = index.with_name(f".{index.name}.part")
    part.write_text(json.dumps(entries, indent=1, ensure_ascii=False) + "\n", "utf-8")
    os.replace(part, index)
