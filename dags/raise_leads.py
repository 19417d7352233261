"""Raise leads: from filed captures to sealed evidence in the review queue, where machines stop.

Runs when captures were filed, and every two minutes in any case. For each capture that nobody
has looked at yet, a lane of three steps:

1. **observe**: the feed's detectors look at it; what they saw is recorded, also if nothing.
2. **correlate**: rules are held against the observations; a satisfied rule makes a lead, one
   for one incident however often this runs.
3. **seal**: original, clip, key frames and manifest are locked in the evidence store; the lead
   enters the review queue.

Each capture has a lane of its own: one that fails stays behind alone, is tried again by a
later run, and holds up no other.

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
    def due_captures() -> list[str]:
        from pipelines.observe import due_captures

        return due_captures()

    @task(execution_timeout=timedelta(minutes=15), max_active_tis_per_dag=AT_ONCE)
    def observe(capture: str) -> str:
        from pipelines.observe import observe

        return observe(capture)

    @task(execution_timeout=timedelta(minutes=5))
    def correlate(capture: str) -> list[str]:
        from pipelines.correlate import correlate

        return correlate(capture)

    @task(execution_timeout=timedelta(minutes=15))
    def seal(capture: str) -> list[str]:
        from pipelines.seal import seal_capture

        return seal_capture(capture)

    @task_group
    def lane(capture: str) -> None:
        # An argument that is read from a task in front is a str by the time the task runs.
        observed = observe(capture)
        correlate(observed) >> seal(observed)  # type: ignore[arg-type]

    lane.expand(capture=due_captures())


raise_leads()
