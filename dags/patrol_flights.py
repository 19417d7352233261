"""Patrol flights: judge flights whose files have come, and compare each with the one before.

Every two minutes:

1. **due_flights**, **close**: a flight is closed once its files are complete, by the mission's own
   count or the dock's, or its grace time has passed. Its positions are held against the flight
   approval: footage that the approval covers is released to `raise_leads`; the rest is refused
   with a reason, and kept as received.
2. **due_pairs**, **compare**: two flights of a mission that follow each other are laid onto each
   other; what is new on watched ground is a lead with pictures before and after, sealed and in the
   review queue.

| you see | it means |
|---|---|
| `close` green | its XCom names the flights that were accepted; the feeds page names the refused |
| `compare` green | its XCom names the new leads |
| `compare` red | two flights could not be compared for now; the log says why; tried again later |

The files themselves come by `pull_footage`. **It ends at the queue.** Safe to re-run, in any order:
a flight that comes late is compared with its neighbours then.
"""

from datetime import timedelta

from airflow.sdk import CronTriggerTimetable, dag, task


@dag(
    schedule=CronTriggerTimetable("*/2 * * * *", timezone="UTC", run_immediately=True),
    catchup=False,
    # Two runs at once would compare the same flights twice.
    max_active_runs=1,
    is_paused_upon_creation=False,
    dagrun_timeout=timedelta(hours=4),
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
def patrol_flights() -> None:
    @task(execution_timeout=timedelta(minutes=1), retries=3)
    def due_flights() -> list[list[str]]:
        from pipelines.missions import due_flights

        return due_flights()

    @task(execution_timeout=timedelta(minutes=30))
    def close(flight: list[str]) -> list[str]:
        from pipelines.missions import close_all

        return close_all([flight])

    # Flights that were accepted before are compared even if one could not be judged now.
    @task(execution_timeout=timedelta(minutes=5), trigger_rule="all_done")
    def due_pairs() -> list[list[str]]:
        from pipelines.patrol_leads import due_pairs

        return due_pairs()

    # One at a time: a comparison takes all the cores that it gets.
    @task(execution_timeout=timedelta(hours=2), max_active_tis_per_dag=1)
    def compare(pair: list[str]) -> list[str]:
        from pipelines.patrol_leads import compare_all

        return compare_all([pair])

    pairs = due_pairs()
    close.expand(flight=due_flights()) >> pairs
    compare.expand(pair=pairs)


patrol_flights()
