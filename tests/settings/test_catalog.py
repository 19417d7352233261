"""The catalog says what is watched; a mistake in it is named, never guessed around."""

import os
from pathlib import Path

import pytest

from enforcement.errors import ConfigurationError
from settings.catalog import SHIPPED_CATALOG, CatalogFolder, load_catalog

SITE = "sites: [{site_id: yard, title: Yard}]\n"
FEED = (
    "feeds: [{feed_id: gate, title: Gate, site_id: yard, source: {kind: folder, path: gate},"
    " zones: [{zone_id: verge, purpose: no_dumping}]}]\n"
)


def catalog_of(folder: Path, **files: str) -> Path:
    for name, text in files.items():
        (folder / f"{name}.yaml").write_text(text, "utf-8")
    return folder


def test_the_shipped_catalog_is_in_order() -> None:
    catalog = load_catalog(SHIPPED_CATALOG)
    assert {rule.kind.value for rule in catalog.current_rules} == {
        "left_behind",
        "thrown",
        "zone_intrusion",
        "stopped_vehicle",
        "no_helmet",
        "open_fire",
        "smoke",
    }
    assert catalog.feed("inbox").device_id is None


def test_files_add_up(tmp_path: Path) -> None:
    catalog = load_catalog(catalog_of(tmp_path, a=SITE, b=FEED))
    assert catalog.feed("gate").zones[0].polygon[2] == (1, 1), "without a polygon: the whole frame"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (SITE + "camera: []", "unknown section 'camera'"),
        (SITE + FEED.replace("title: Gate", "title: Gate, colour: red"), "colour"),
        (SITE + FEED.replace("no_dumping", "no_parking"), "purpose"),
        (SITE + FEED.replace("feed_id: gate", "feed_id: Gate 1"), "feed_id"),
        (FEED, "there is no site yard"),
        (SITE + FEED.replace("site_id: yard,", "site_id: yard, device_id: eye,"), "no device eye"),
        (SITE + "feeds: {a: 1}", "must be a list"),
        ("feeds: [", "cannot be read as YAML"),
        ("just text", "expected sections"),
        (SITE + FEED.replace("no_dumping", "no_dumping, polygon: [[0,0],[1,1]]"), "polygon"),
        (SITE + FEED.replace("no_dumping", "no_dumping, polygon: [[0,0],[9,1],[1,1]]"), "polygon"),
        (
            SITE + "devices: [{device_id: a, title: a, purpose: a,"
            " valid_from: 2026-01-01T00:00:00Z, valid_until: 2025-01-01T00:00:00Z}]",
            "valid_until",
        ),
    ],
)  # fmt: skip
def test_a_mistake_is_named_with_its_file(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(ConfigurationError, match=said) as caught:
        load_catalog(catalog_of(tmp_path, town=text))
    assert str(tmp_path) in str(caught.value)


def test_the_same_feed_in_two_files_is_a_mistake(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="feed gate is there 2 times"):
        load_catalog(catalog_of(tmp_path, a=SITE + FEED, b=FEED))


def test_a_missing_folder_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="sightline init"):
        load_catalog(tmp_path / "none")


def test_the_newest_version_of_a_rule_is_the_current_one(tmp_path: Path) -> None:
    rules = (SHIPPED_CATALOG / "rules.yaml").read_text("utf-8")
    newer = rules.replace("version: 1", "version: 2")
    catalog = load_catalog(catalog_of(tmp_path, old=rules, new=newer))
    assert {rule.version for rule in catalog.current_rules} == {2}
    assert catalog.rule("object-left-behind", 1).version == 1
    only_old = load_catalog(catalog_of(_made(tmp_path / "b"), old=rules))
    assert catalog.rules_digest != only_old.rules_digest


def test_an_edit_is_seen_and_a_mistake_keeps_the_last_good_catalog(tmp_path: Path) -> None:
    catalogs = CatalogFolder(catalog_of(tmp_path, a=SITE))
    assert catalogs().feeds == ()
    catalog_of(tmp_path, b=FEED)
    assert catalogs().feed("gate").title == "Gate"
    catalog_of(tmp_path, b="feeds: [")
    os.utime(tmp_path / "b.yaml", ns=(1, 1))
    assert catalogs().feed("gate").title == "Gate"


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder
