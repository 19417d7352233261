"""PostgreSQL's privileges: the pipeline cannot confirm, the review application cannot dispatch.

SQLite knows no roles: there, the triggers alone hold the gate.
"""

import sqlalchemy as sa

from storage.records.schema import metadata

PIPELINE = "sightline_pipeline"
REVIEW = "sightline_review"

_INSERTS = {
    PIPELINE: (
        "captures", "pending", "pulls", "quarantine", "observations", "view_problems", "gaps",
        "feed_states", "reading_spans", "windows", "sensor_problems", "correlations",
        "flights", "flight_files", "strays", "dock_uploads", "comparisons", "ground_fixes",
        "leads", "sensor_leads", "joined_leads", "case_facts", "cases", "events", "outbox",
        "deliveries", "denials",
    ),
    REVIEW: (
        "case_facts", "events", "confirmations", "recusals", "evidence_views", "denials",
        "sessions", "login_attempts", "missions",
    ),
}  # fmt: skip
_UPDATES = {PIPELINE: ("cases", "feed_states", "windows", "flights", "strays"), REVIEW: ("cases",)}
_DELETES = {PIPELINE: ("pending", "sensor_problems", "strays"), REVIEW: ("sessions",)}


def ensure_roles(connection: sa.Connection) -> None:
    """Create the two group roles if missing; log-in roles are made members of one of them."""
    for role in (PIPELINE, REVIEW):
        connection.exec_driver_sql(
            f"DO $$ BEGIN CREATE ROLE {role} NOLOGIN;"
            " EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL; END $$"
        )


def grant(connection: sa.Connection) -> None:
    """Give both roles exactly what they need, on the tables that there are so far.

    Passwords stay hidden from the pipeline.
    """
    there = set(sa.inspect(connection).get_table_names())
    tables = [table.name for table in metadata.sorted_tables if table.name in there]
    for role in (PIPELINE, REVIEW):
        connection.exec_driver_sql(f"REVOKE ALL ON ALL TABLES IN SCHEMA public FROM {role}")
        connection.exec_driver_sql(f"GRANT USAGE ON SCHEMA public TO {role}")
        readable = [
            name
            for name in tables
            if role is REVIEW or name not in {"accounts", "sessions", "login_attempts"}
        ]
        connection.exec_driver_sql(f"GRANT SELECT ON {', '.join(readable)} TO {role}")
        for privilege, names in (
            ("INSERT", _INSERTS[role]),
            ("UPDATE", _UPDATES[role]),
            ("DELETE", _DELETES[role]),
        ):
            granted = [name for name in names if name in there]
            if granted:
                connection.exec_driver_sql(f"GRANT {privilege} ON {', '.join(granted)} TO {role}")
