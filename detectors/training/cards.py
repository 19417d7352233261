"""Writes the figures beside the weights into the model cards: ``… .training.cards docs/models``.

What stands between the two marks of a card is replaced, the rest is prose and stays.
"""

import argparse
from pathlib import Path
from typing import Any

from detectors.crops import WEIGHTS_DIR, WeightsCard

CARDS = {"heads": "helmet-classifier.md", "blobs": "crop-classifier.md"}
"""Name of the weights → file of the card."""

BEGIN, END = "<!-- figures: begin -->", "<!-- figures: end -->"

_SETS = {
    "held_out": "held-out training pictures",
    "validate": "other collections",
    "validate_same_collection": "later pictures of the main collection",
}
_WORSENED = {"": "as they are", "_as_far": "as from afar", "_as_night": "as at night"}


def tables(card: WeightsCard) -> str:
    """The figures of these weights as Markdown."""
    figures = card.figures
    parts = [
        f"Weights `{card.digest[:16]}…`, licence {card.licence}.",
        "### Crops used",
        _rows(figures, card.classes),
    ]
    for name, title in _SETS.items():
        if figures.get(name):
            parts += [f"### Measured on {title}", _measured(figures, name, card.classes)]
    if "overflow_bin_taken_for" in figures:
        taken = ", ".join(f"{n} {label}" for label, n in figures["overflow_bin_taken_for"].items())
        parts += ["### Overflowing bins (not a class)", f"Taken for: {taken}."]
    return "\n\n".join(parts)


def renewed(text: str, card: WeightsCard) -> str:
    """The model card with the tables of these weights. Raises ValueError without the marks."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"the card lacks {BEGIN} or {END}")
    return f"{before}{BEGIN}\n\n{tables(card)}\n\n{END}{after}"


def read_card(name: str, weights_dir: Path = WEIGHTS_DIR) -> WeightsCard:
    """What lies beside the weights of that name."""
    return WeightsCard.model_validate_json((weights_dir / f"{name}.json").read_bytes())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("docs_dir", type=Path, help="folder with the model cards")
    given = parser.parse_args()
    for name, file in CARDS.items():
        path = given.docs_dir / file
        path.write_text(renewed(path.read_text(encoding="utf-8"), read_card(name)), "utf-8")


def _rows(figures: dict[str, Any], classes: tuple[str, ...]) -> str:
    lines = []
    for key, use in (
        ("rows_trained", "trained on"),
        ("rows_held_out", "held out (settings, calibration)"),
        ("rows_validated", "validated on"),
    ):
        for source, found in figures[key].items():
            lines.append([use, source, *(str(found.get(label, 0)) for label in classes)])
    return _table(["use", "collection (licence)", *classes], lines)


def _measured(figures: dict[str, Any], name: str, classes: tuple[str, ...]) -> str:
    lines = [
        [how, _share(figures[f"{name}{key}"])]
        + [_share(figures[f"{name}{key}"]["recall"][label], interval=False) for label in classes]
        + [f"{figures[f'{name}{key}']['calibration_error']:.3f}"]
        for key, how in _WORSENED.items()
    ]
    wide = _table(
        [
            "crops",
            "accuracy [95 %]",
            *(f"recall {label}" for label in classes),
            "calibration error",
        ],
        lines,
    )
    plain = figures[name]
    sources = [[source, _share(found)] for source, found in plain["recall_by_source"].items()]
    kinds = [[kind, _share(found)] for kind, found in plain["recall_by_kind"].items()]
    confusion = [
        [label, *(str(row[other]) for other in classes)]
        for label, row in plain["confusion"].items()
    ]
    parts = [
        wide,
        _table(["collection: class", "recall [95 %]"], sources),
        _table(["truth \\ answer", *classes], confusion),
        _thresholds(figures, name),
    ]
    if len(kinds) > len(classes):
        parts.insert(2, _table(["class: kind", "recall [95 %]"], kinds))
    return "\n\n".join(parts)


def _thresholds(figures: dict[str, Any], name: str) -> str:
    """Recall and false share of the class that raises leads, by the probability asked for."""
    (key,) = (key for key in figures[name] if key.endswith("_from"))
    wanted = key.removesuffix("_from")
    lines = []
    for limit in figures[name][key]:
        cells = [figures[f"{name}{how}"][key][limit] for how in _WORSENED]
        shares = [f"{cell['recall']:.3f} / {cell['false_share']:.4f}" for cell in cells]
        lines.append([f"≥ {limit}", *shares])
    head = [f"{wanted} asked for", *(f"{how}: recall / false share" for how in _WORSENED.values())]
    return _table(head, lines)


def _share(found: dict[str, Any], *, interval: bool = True) -> str:
    low, high = found["wilson_95"]
    bounds = f" [{low:.3f}, {high:.3f}]" if interval else ""
    return f"{found['share']:.3f}{bounds} of {found['of']}"


def _table(head: list[str], lines: list[list[str]]) -> str:
    rows = [head, ["---"] * len(head), *lines]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


if __name__ == "__main__":
    main()
