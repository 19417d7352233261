"""Fly missions: one DAG for each mission of the catalog that is flown by the clock.

Airflow's timetable is the mission's: the next run is the next flight, in the mission's own time
zone, and a paused DAG is a mission that nobody awaits. A run waits until the flight of its turn
has come and was judged.

| you see | it means |
|---|---|
| `await_flight` yellow | the flight is awaited; it takes no worker meanwhile |
| `await_flight` green | it came; its XCom names the flight and whether it was accepted |
| `await_flight` red | nothing came: an hour and the mission's grace time have passed |

What becomes of the files is the matter of `pull_footage` and `patrol_flights`, which take in
flights that nobody scheduled, and late ones, just the same.
"""

from datetime import timedelta

from airflow.sdk import CronTriggerTimetable, PokeReturnValue, dag, task


def fly(
    mission_id: str, title: str, purpose: str, cron: str, time_zone: str, missed_after_s: float
) -> None:
    """Make the DAG of one mission."""

    @dag(
        dag_id=f"mission_{mission_id}",
        dag_display_name=title,
        description=purpose,
        schedule=CronTriggerTimetable(cron, timezone=time_zone),
        catchup=False,
        max_active_runs=4,
        is_paused_upon_creation=False,
        # Beyond the sensor's own limit, so that the sensor is what turns red.
        dagrun_timeout=timedelta(seconds=missed_after_s) + timedelta(hours=1),
        default_args={"owner": "sightline"},
        doc_md=__doc__,
        tags=["sightline", "missions"],
    )
    def mission() -> None:
        @task.sensor(mode="reschedule", poke_interval=60, timeout=missed_after_s, retries=0)
        def await_flight(mission_id: str, due_at: str) -> PokeReturnValue:
            from pipelines.turns import flight_of_turn

            flown = flight_of_turn(mission_id, due_at)
            return PokeReturnValue(is_done=flown is not None, xcom_value=flown)

        await_flight(mission_id, "{{ dag_run.run_after.isoformat() }}")

    mission()


def fly_all() -> None:
    """Make the DAGs of all missions with a schedule."""
    from pipelines.turns import scheduled

    for mission in scheduled():
        fly(*mission)


fly_all()
