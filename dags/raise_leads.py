"""Raise leads: from filed captures to sealed evidence in the review queue, where machines stop.

Runs when captures were filed, and every two minutes in any case. For each feed with captures that
nobody has looked at yet, a lane of three steps, capture by capture in the order of time:

1. **observe**: the feed's detectors look; what they saw is recorded, also if nothing. What they
   know at the end of one capture is carried over to the next. Out of messages of sensors the
   readings are taken; those are held against rules hour by hour, by `sweep_windows`.
2. **correlate**: rules are held against the observations; a satisfied rule makes a lead, one
   for one incident however often this runs.
3. **seal**: original, clip, key frames and manifest are locked in the evidence store; the lead
   enters the review queue.

A capture that fails stays behind alone, is tried again by a later run, and holds up no other:
each step does what it can for the whole batch and says at its end what it could not do.

**It ends at the queue.** A lead is a machine's opinion. What happens to it is decided by people
in the review application, and nothing here leads on to `dispatch_cases`.

Ids travel between the tasks, never pictures or names. Safe to re-run.
"""

import os
from datetime import timedelta

from airflow.sdk import Asset, AssetOrTimeSchedule, CronTriggerTimetable, dag, task, task_group

CAPTURES = Asset("sightline_captures")

# Looking takes all the cores that it gets: on one machine, two at a time leave room for pulling and
# dispatching to go on meanwhile. With workers on machines of their own, set it to what they have.
AT_ONCE = int(os.environ.get("SIGHTLINE_OBSERVE_AT_ONCE", "2"))


@dag(
    schedule=AssetOrTimeSchedule(
        assets=[CAPTURES],
        timetable=CronTriggerTimetable("*/2 * * * *", timezone="UTC", run_immediately=True),
    ),
    catchup=False,
    # Two runs at once would look at the same captures twice.
    max_active_runs=1,
    is_paused_upon_creation=False,
    dagrun_timeout=timedelta(hours=2),
    default_args={
        "owner": "sightline",
        "retries": 2,
        "retry_delay": timedelta(seconds=5),
        "retry_exponential_backoff": True,
        "max_retry_delay": timedelta(minutes=1),
    },
    doc_md=__doc__,
    tags=["sightline", "leads"],
)
def raise_leads() -> None:
    @task(execution_timeout=timedelta(minutes=1), retries=3)
    def due_batches() -> list[list[str]]:
        from pipelines.observe import due_batches

        return due_batches()

    @task(execution_timeout=timedelta(minutes=60), max_active_tis_per_dag=AT_ONCE)
    def observe(batch: list[str]) -> list[str]:
        from pipelines.batches import observe_all

        return observe_all(batch)

    @task(execution_timeout=timedelta(minutes=15), trigger_rule="all_done")
    def correlate(batch: list[str]) -> list[str]:
        from pipelines.batches import correlate_all

        return correlate_all(batch)

    @task(execution_timeout=timedelta(minutes=30), trigger_rule="all_done")
    def seal(batch: list[str]) -> list[str]:
        from pipelines.batches import seal_all

        return seal_all(batch)

    @task_group
    def lane(batch: list[str]) -> None:
        observe(batch) >> correlate(batch) >> seal(batch)

    lane.expand(batch=due_batches())


raise_leads()
