"""The catalog says what is watched; a mistake in it is named, never guessed around."""

import json
import os
import textwrap
from pathlib import Path

import pytest

from enforcement.errors import ConfigurationError
from enforcement.places import MqttSource
from settings.catalog import SHIPPED_CATALOG, CatalogFolder, load_catalog

SITE = "sites: [{site_id: yard, title: Yard}]\n"
FEED = (
    "feeds: [{feed_id: gate, title: Gate, site_id: yard, source: {kind: folder, path: gate},"
    " zones: [{zone_id: verge, purpose: no_dumping}]}]\n"
)

MQTT: dict[str, object] = {"kind": "mqtt", "host": "broker", "topics": ["site/#"]}
HJ212: dict[str, object] = {"kind": "hj212", "port": 9212, "stations": [{"mn": "A"}]}


def live(**sources: dict[str, object]) -> str:
    """A catalog with these live feeds."""
    feeds = [
        {"feed_id": name, "title": name, "site_id": "yard", "source": source}
        for name, source in sources.items()
    ]
    return f"{SITE}feeds: {json.dumps(feeds)}"


def catalog_of(folder: Path, **files: str) -> Path:
    for name, text in files.items():
        (folder / f"{name}.yaml").write_text(text, "utf-8")
    return folder


def test_the_shipped_catalog_is_in_order() -> None:
    catalog = load_catalog(SHIPPED_CATALOG)
    assert {rule.kind.value for rule in catalog.current_rules} == {
        "change_on_ground",
        "left_behind",
        "thrown",
        "zone_intrusion",
        "stopped_vehicle",
        "no_helmet",
        "open_fire",
        "smoke",
        "sensor_hourly_mean",
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
        (live(a=MQTT | {"ca_file": "ca.pem"}), "ca_file"),
        (live(a=MQTT | {"password_variable": "P"}), "user_variable"),
        (live(a=MQTT | {"topics": []}), "topics"),
        (live(a=MQTT | {"topics": [""]}), "topic filter"),
        (live(a=MQTT | {"password": "hunter2"}), "password"),
        (live(a=HJ212 | {"stations": []}), "stations"),
        (live(a=HJ212 | {"stations": [{"mn": "A"}, {"mn": "A"}]}), "same mn"),
        (live(a=HJ212 | {"stations": [{"mn": "A;B"}]}), "mn"),
        (live(a=HJ212, b=HJ212), "HJ 212 port 127.0.0.1:9212 is there 2 times"),
        (
            live(a=MQTT | {"client_id": "me"}, b=MQTT | {"client_id": "me"}),
            "MQTT client_id me at broker:1883 is there 2 times",
        ),
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


def test_live_feeds_that_do_not_meet_are_in_order(tmp_path: Path) -> None:
    other = HJ212 | {"port": 9213}
    catalog = load_catalog(catalog_of(tmp_path, town=live(a=MQTT, b=MQTT, c=HJ212, d=other)))
    source = catalog.feed("a").source
    assert source.kind == "mqtt"
    assert source.session_of("a") == "sightline-a"


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


def test_a_site_with_sensor_rules_needs_a_time_zone(tmp_path: Path) -> None:
    feed = live(noise=MQTT)[len(SITE) :].replace('"source"', '"zones": %s, "source"')
    feed %= json.dumps([{"zone_id": "z", "purpose": "noise_limit"}])
    rules = (SHIPPED_CATALOG / "rules.yaml").read_text("utf-8")
    with pytest.raises(ConfigurationError, match="needs time_zone"):
        load_catalog(catalog_of(tmp_path, a=SITE, b=feed, rules=rules))
    clocked = SITE.replace("title: Yard", "title: Yard, time_zone: Asia/Shanghai")
    load_catalog(catalog_of(tmp_path, a=clocked))
    with pytest.raises(ConfigurationError, match="there is no time zone"):
        load_catalog(catalog_of(tmp_path, a=clocked.replace("Shanghai", "Atlantis")))


COLUMN = {"quantity": "laeq", "value": "v", "unit": "dB(A)"}
DOCKS = {"kind": "mqtt", "host": "broker", "topics": ["thing/product/+/events"]}


@pytest.mark.parametrize(
    ("topics", "form", "said"),
    [
        (["a"], {"time": "t", "columns": [COLUMN], "colums": []}, "format.json.colums: Extra"),
        (["a"], {"kind": "json", "columns": [COLUMN]}, "format.json.time: Field required"),
        (["a"], {"kind": "dji"}, "format: the kind of a format is json or dji_dock"),
        (["a"], {"kind": ["json"]}, "format: the kind of a format is json or dji_dock"),
        (["a"], "json", "format: the kind of a format is json or dji_dock"),
        (["a"], {"kind": "dji_dock", "time": "t"}, "format.dji_dock.time: Extra"),
        (["a", "#"], {"kind": "dji_dock"}, "keys of their bucket"),
        (["thing/product/+/+"], {"kind": "dji_dock"}, "keys of their bucket"),
        (["thing/product/7/requests_reply"], {"kind": "dji_dock"}, "keys of their bucket"),
    ],
)
def test_a_mistake_in_a_format_of_messages_is_named(
    tmp_path: Path, topics: list[str], form: object, said: str
) -> None:
    source = MQTT | {"topics": topics, "format": form}
    with pytest.raises(ConfigurationError, match=said):
        load_catalog(catalog_of(tmp_path, a=live(a=source)))


def test_a_format_without_a_kind_is_one_of_readings(tmp_path: Path) -> None:
    form = {"time": "t", "columns": [COLUMN]}
    catalog = load_catalog(catalog_of(tmp_path, a=live(a=MQTT | {"format": form})))
    assert isinstance(catalog.feed("a").source, MqttSource)
    assert catalog.feed("a").source.model_dump()["format"]["kind"] == "json"


def test_a_feed_of_docks_has_no_sensors_and_needs_nothing_of_them(tmp_path: Path) -> None:
    feed = live(docks=DOCKS | {"format": {"kind": "dji_dock"}})
    zones = json.dumps([{"zone_id": "z", "purpose": "noise_limit"}])
    feed = feed.replace('"source"', f'"zones": {zones}, "source"')
    rules = (SHIPPED_CATALOG / "rules.yaml").read_text("utf-8")
    catalog = load_catalog(catalog_of(tmp_path, a=feed, rules=rules))
    assert catalog.feed("docks").sensors == frozenset()


def test_a_device_that_only_a_format_names_must_be_there(tmp_path: Path) -> None:
    form = {"factors": {}, "stations": {"A": "meter-9"}}
    with pytest.raises(ConfigurationError, match="feed river: there is no device meter-9"):
        load_catalog(catalog_of(tmp_path, a=live(river=HJ212 | {"format": form})))


def test_the_sensor_that_the_documentation_adds_is_in_order(tmp_path: Path) -> None:
    told = (SHIPPED_CATALOG.parents[1] / "docs" / "own-sensor.md").read_text("utf-8")
    text = textwrap.dedent(told.split("```yaml\n")[1].split("   ```")[0])
    rules = (SHIPPED_CATALOG / "rules.yaml").read_text("utf-8")
    catalog = load_catalog(catalog_of(tmp_path, meters=text, rules=rules))
    assert catalog.feed("my-east-fence").sensors == {"my-meter-1"}
    assert len(catalog.device("my-meter-1").calibration_intervals) == 1


@pytest.mark.parametrize("schedule", ["61 6 * * *", "0 0 30 2 *"])
def test_a_mission_whose_schedule_has_no_turns_is_named(tmp_path: Path, schedule: str) -> None:
    source = {"kind": "drone_folder", "path": "drone"}
    feed = {"feed_id": "drone", "title": "Drone", "site_id": "yard", "source": source}
    mission = {
        "mission_id": "fields", "title": "Fields", "feed_id": "drone", "purpose": "waste",
        "schedule": schedule,
        "approval": {
            "approval_id": "A-1", "valid_from": "2026-01-01T00:00:00Z",
            "valid_until": "2027-01-01T00:00:00Z",
            "area": [[31.0, 121.0], [31.1, 121.0], [31.1, 121.1]],
        },
    }  # fmt: skip
    text = f"{SITE}feeds: {json.dumps([feed])}\nmissions: "
    catalog_of(tmp_path, town=text + json.dumps([mission | {"schedule": "30 6 * * *"}]))
    assert load_catalog(tmp_path).missions[0].schedule == "30 6 * * *"
    catalog_of(tmp_path, town=text + json.dumps([mission]))
    with pytest.raises(ConfigurationError) as refused:
        load_catalog(tmp_path)
    assert f"mission fields: schedule '{schedule}': " in str(refused.value)
