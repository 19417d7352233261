"""Dispatch: hand over cases that people have confirmed.

Once a minute:

1. **dispatch_confirmed**: cases with the required confirmations by distinct officers, over exactly
   the evidence as it lies in the store now, are written to the outbox. The database refuses any
   other.
2. **deliver_due**: what is due in the outbox is sent, signed; a recipient that does not answer is
   tried again later with the same event id.

There is no edge, asset or trigger between `raise_leads` and this DAG, and none may be added. What
`raise_leads` makes, people judge in the review application, for as long as they need; this DAG
starts from their confirmations, which it finds in the records by itself. **The missing edge is the
human.** An operator that waits for a human would be an edge all the same: its default answers when
time runs out, and a timer must never confirm a case.

This is the only DAG that may import `pipelines.dispatch`. Safe to re-run: a case enters the outbox
once, and a recipient can tell a repeated event by its id.
"""

from datetime import timedelta

from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import CronTriggerTimetable, dag, task


@dag(
    schedule=CronTriggerTimetable("* * * * *", timezone="UTC", run_immediately=True),
    catchup=False,
    # One sender at a time keeps the order in which a recipient sees dispatch and recall.
    max_active_runs=1,
    is_paused_upon_creation=False,
    dagrun_timeout=timedelta(minutes=15),
    default_args={
        "owner": "sightline",
        "retries": 2,
        "retry_delay": timedelta(seconds=5),
        "retry_exponential_backoff": True,
        "max_retry_delay": timedelta(minutes=1),
    },
    doc_md=__doc__,
    tags=["sightline", "dispatch"],
)
def dispatch_cases() -> None:
    @task(execution_timeout=timedelta(minutes=5))
    def dispatch_confirmed() -> list[str]:
        from pipelines.dispatch import dispatch_confirmed

        return dispatch_confirmed()

    # What is due goes out, recalls above all, even if newly confirmed cases can't be written.
    @task(execution_timeout=timedelta(minutes=5), trigger_rule="all_done")
    def deliver_due() -> dict[str, int]:
        from pipelines.dispatch import deliver_due

        return deliver_due()

    dispatched, delivered = dispatch_confirmed(), deliver_due()
    dispatched >> delivered
    # Airflow judges a run by its last tasks: without this one, a failed first step would be green.
    [dispatched, delivered] >> EmptyOperator(task_id="both_done")


dispatch_cases()
