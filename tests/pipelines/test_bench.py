"""The benchmark runs the three loops for real and compares what they found and cost."""

import json
from pathlib import Path

import pytest

from enforcement.geometry import Box
from enforcement.scoring import Alarm
from media.bench_scenes import bench_truth
from pipelines.bench import Compared, Loop, as_json, bench
from pipelines.bench_report import table


def alarm(onset_s: float, family: str = "dumping") -> Alarm:
    return Alarm(
        family=family, rule="rule", t_s=onset_s + 3, onset_s=onset_s, end_s=None,
        box=Box(0, 0, 1, 1), score=0.5, reasons=("because",),
    )  # fmt: skip


def compared(found: tuple[Alarm, ...], reference: tuple[Alarm, ...], seen_s: float) -> Compared:
    return Compared(
        name="quiet",
        truth=bench_truth("quiet", 600.0),
        naive=Loop(60.0, 72.0, 80.0, 500.0),
        exhaustive=Loop(seen_s, 300.0, 310.0, 390.0, 2.0),
        cascade=Loop(600.0, 6.0, 6.5, 380.0, 2.0),
        found=found,
        reference=reference,
        stages={"decode": 4.0, "detect": 2.0},
        decoded_s=50.0,
    )


def test_costs_are_compared_for_each_second_of_footage() -> None:
    one = compared((), (), 600.0)
    assert one.ratio == pytest.approx(120.0)
    assert one.cameras_per_core == pytest.approx(100.0)
    told = as_json([one])
    assert told["ratios"] == {"quiet": 120.0}
    assert told["stages"]["quiet"]["decode"] == pytest.approx(4.0 / 600, abs=1e-6)
    assert "120.0 times cheaper" in str(table(one).caption)


def test_what_the_cascade_loses_or_adds_is_counted_by_event() -> None:
    event = bench_truth("quiet", 600.0).events[0]
    both = alarm(event.onset_s)
    one = compared((both, alarm(20.0), alarm(590.0)), (both, alarm(400.0)), 600.0)
    assert [x.onset_s for x in one.missed] == [400.0]
    assert [x.onset_s for x in one.extra] == [20.0, 590.0]
    assert one.events_found(one.found) == 1
    assert one.events_found((alarm(event.onset_s, "stopped_vehicle"),)) == 0


def test_an_alarm_where_the_exhaustive_loop_did_not_look_is_not_held_against_the_cascade() -> None:
    one = compared((alarm(20.0), alarm(300.0)), (), 60.0)
    assert [x.onset_s for x in one.extra] == [20.0]


@pytest.mark.timeout(300)
def test_the_three_loops_watch_the_same_footage_at_their_own_cost(tmp_path: Path) -> None:
    said: list[str] = []
    (one,) = bench(
        [], ["quiet"], duration_s=24.0, reference_s=2.0, folder=tmp_path,
        progress=lambda text, share: said.append(text),
    )  # fmt: skip
    assert one.naive.seconds == pytest.approx(2.0, abs=0.1)
    assert one.exhaustive.seconds == pytest.approx(2.0, abs=0.1)
    assert one.cascade.seconds == pytest.approx(24.0, abs=0.1)
    assert one.ratio > 2  # what it comes to on ten minutes is for a benchmark to say
    assert {"quiet: rendering", "quiet: cascade", "quiet: naive loop"} <= set(said)
    assert json.loads(json.dumps(as_json([one])))["runs"]["quiet"]["naive"]["cpu_s"] > 0
    assert {"decode", "gate", "detect", "track"} <= set(one.stages)
