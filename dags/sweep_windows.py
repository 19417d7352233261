"""Sweep windows: hold the readings of sensors against the rules, hour by hour.

Every five minutes:

1. **due_windows**: hours of UTC whose lateness is over, and those that readings came late for.
2. **evaluate**: for each feed with such hours, in the order of time, rules are held against the
   readings; each new episode is one lead, sealed and in the review queue at the end.

| you see | it means |
|---|---|
| `evaluate` green | its hours were evaluated; the ids of new leads are the task's XCom |
| `evaluate` red | some hours could not be; the log names them; a later run tries them again |

Readings come into the records by `raise_leads`, which reads every filed capture. **It ends at the
queue** like that one: what happens to a lead is decided by people.

Safe to re-run, in any order: what an hour gives follows from its readings alone, and what is
decided is never changed.
"""

from datetime import timedelta

from airflow.sdk import CronTriggerTimetable, dag, task


@dag(
    schedule=CronTriggerTimetable("*/5 * * * *", timezone="UTC", run_immediately=True),
    catchup=False,
    # Two runs at once would evaluate the same hours twice.
    max_active_runs=1,
    is_paused_upon_creation=False,
    dagrun_timeout=timedelta(hours=1),
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
def sweep_windows() -> None:
    @task(execution_timeout=timedelta(minutes=1), retries=3)
    def due_windows() -> list[list[str]]:
        from pipelines.windows import due

        return due()

    @task(execution_timeout=timedelta(minutes=30))
    def evaluate(batch: list[str]) -> list[str]:
        from pipelines.windows import evaluate_all

        return evaluate_all(batch)

    evaluate.expand(batch=due_windows())


sweep_windows()
