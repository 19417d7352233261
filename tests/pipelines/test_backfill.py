"""Footage that was filed can be held against other versions of rules, later."""

from datetime import UTC, datetime
from pathlib import Path

import pytest
import yaml

from pipelines.backfill import backfill
from pipelines.ingest import ingest_file
from pipelines.wiring import Wiring
from storage.records import casebook
from tests.pipelines.test_way import environment, footage, leads, short, wired

__all__ = ["environment", "footage", "short", "wired"]  # fixtures

pytestmark = pytest.mark.timeout(200)

DAY = datetime(2026, 6, 1, tzinfo=UTC), datetime(2026, 6, 2, tzinfo=UTC)


def test_footage_is_held_against_the_version_that_is_pinned_and_nothing_raised_twice(
    wired: Wiring,
    short: Path,
) -> None:
    folder = wired.settings.catalog_folder
    rules = yaml.safe_load((folder / "rules.yaml").read_text("utf-8"))["rules"]
    [newest] = [one for one in rules if one["kind"] == "zone_intrusion"]
    withdrawn = newest | {"version": 2, "valid_until": "2026-01-01T00:00:00Z"}
    (folder / "withdrawn.yaml").write_text(yaml.safe_dump({"rules": [withdrawn]}), "utf-8")
    wired.__dict__.pop("catalog")
    assert ingest_file(wired, short, "closed-zone-person").leads == ()
    assert backfill("closed-zone-person", *DAY) == (1, 0, ())
    assert backfill("closed-zone-person", DAY[1], DAY[1].replace(day=3)) == (0, 0, ())
    pins = {newest["rule_id"]: 1}
    [lead_id] = backfill("closed-zone-person", *DAY, pins).raised
    assert backfill("closed-zone-person", *DAY, pins) == (1, 0, ())
    with wired.database.transaction() as connection:
        assert casebook.load_lead(connection, lead_id).rule_version == 1
    assert len(leads(wired)) == 1
