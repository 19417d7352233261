"""Pull: file what the feeds have to offer, before any detector looks at it.

Once a minute each enabled feed is asked for what is new. Every capture is stored exactly as
received, hashed and entered in the records **before** anything looks at it.

| you see | it means |
|---|---|
| `pull` green | captures were filed; their ids are the task's XCom |
| `pull` skipped | the feed had nothing new |
| `pull` red | the feed did not answer; the log says why; the other feeds go on |

Filed captures raise an event of the asset `sightline_captures`, which starts `raise_leads` at
once. The event only shortens the delay: were it lost, `raise_leads` would find the captures in
the records two minutes later.

Safe to re-run: bytes that are filed already are not filed twice.
"""

from datetime import timedelta

from airflow.sdk import Asset, CronTriggerTimetable, dag, task
from airflow.sdk.exceptions import AirflowSkipException

CAPTURES = Asset("sightline_captures")


@dag(
    schedule=CronTriggerTimetable("* * * * *", timezone="UTC", run_immediately=True),
    catchup=False,
    max_active_runs=1,
    is_paused_upon_creation=False,
    dagrun_timeout=timedelta(minutes=10),
    default_args={
        "owner": "sightline",
        # A feed's real retry is the next minute's run: long retries of one dead camera would hold
        # up the others, since runs don't overlap.
        "retries": 1,
        "retry_delay": timedelta(seconds=5),
        "retry_exponential_backoff": True,
        "max_retry_delay": timedelta(seconds=30),
    },
    doc_md=__doc__,
    tags=["sightline", "footage"],
)
def pull_footage() -> None:
    @task(execution_timeout=timedelta(minutes=1), retries=3)
    def enabled_feeds() -> list[str]:
        from pipelines.pull import enabled_feeds

        return enabled_feeds()

    @task(
        outlets=[CAPTURES],
        execution_timeout=timedelta(minutes=5),
        map_index_template="{{ task.op_kwargs.feed }}",
    )
    def pull(feed: str) -> list[str]:
        from pipelines.pull import pull_feed

        filed = pull_feed(feed)
        if not filed:
            # A skipped task emits no asset event, so that nothing starts for nothing.
            raise AirflowSkipException(f"{feed} has nothing new")
        return filed

    pull.expand(feed=enabled_feeds())


pull_footage()
