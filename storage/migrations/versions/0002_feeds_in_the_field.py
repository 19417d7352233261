"""Feeds in the field: gaps, collectors' states, view problems, readings and their windows."""

import sqlalchemy as sa
from alembic import op

from storage.migrations import gate_v1
from storage.records import roles, schema
from storage.records.schema import Moment

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    _create_tables()
    _create_tables_of_readings()
    connection = op.get_bind()
    guarded = (schema.view_problems, schema.gaps, schema.reading_spans, schema.sensor_leads)
    if connection.dialect.name == "postgresql":
        statements = gate_v1.insert_only_postgresql(guarded)
    else:
        statements = gate_v1.insert_only_sqlite(guarded)
    for statement in statements:
        connection.exec_driver_sql(statement)
    if connection.dialect.name == "postgresql":
        roles.grant(connection)


def downgrade() -> None:
    raise RuntimeError("gaps and view problems are part of the record; they are never taken back")


def _create_tables() -> None:
    op.create_table(
        "view_problems",
        sa.Column("capture_id", sa.Text(), nullable=False),
        sa.Column("problem", sa.Text(), nullable=False),
        sa.Column("start_s", sa.Float(), nullable=False),
        sa.Column("end_s", sa.Float(), nullable=False),
        sa.Column("share", sa.Float(), nullable=False),
        sa.ForeignKeyConstraint(
            ["capture_id"], ["captures.capture_id"],
            name=op.f("fk_view_problems_capture_id_captures"),
        ),
        sa.PrimaryKeyConstraint("capture_id", "problem", "start_s", name=op.f("pk_view_problems")),
        comment="When a view was no good: what the observations say of it, to be asked by feed.",
    )  # fmt: skip
    op.create_table(
        "gaps",
        sa.Column("feed_id", sa.Text(), nullable=False),
        sa.Column("from_at", Moment(), nullable=False),
        sa.Column("to_at", Moment(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("noted_at", Moment(), nullable=False),
        sa.PrimaryKeyConstraint("feed_id", "from_at", name=op.f("pk_gaps")),
        comment="When a live feed gave nothing, or nothing of it could be kept.",
    )
    op.create_table(
        "feed_states",
        sa.Column("feed_id", sa.Text(), nullable=False),
        sa.Column("at", Moment(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("detail", schema.Document, nullable=False),
        sa.PrimaryKeyConstraint("feed_id", name=op.f("pk_feed_states")),
        comment="How the collector finds each live feed at present.",
    )


def _create_tables_of_readings() -> None:
    op.create_table(
        "reading_spans",
        sa.Column("capture_id", sa.Text(), nullable=False),
        sa.Column("config_digest", sa.String(length=64), nullable=False),
        sa.Column("feed_id", sa.Text(), nullable=False),
        sa.Column("bucket", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("version_id", sa.Text(), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("media_type", sa.Text(), nullable=False),
        sa.Column("first_at", Moment(), nullable=True),
        sa.Column("last_at", Moment(), nullable=True),
        sa.Column("readings", sa.Integer(), nullable=False),
        sa.Column("refused", sa.Integer(), nullable=False),
        sa.Column("too_late", sa.Integer(), nullable=False),
        sa.Column("read_at", Moment(), nullable=False),
        sa.ForeignKeyConstraint(
            ["capture_id"], ["captures.capture_id"],
            name=op.f("fk_reading_spans_capture_id_captures"),
        ),
        sa.PrimaryKeyConstraint("capture_id", "config_digest", name=op.f("pk_reading_spans")),
        comment="The readings of a capture: where they lie, and which moments they are of.",
    )  # fmt: skip
    op.create_index("ix_reading_spans_feed_id_last_at", "reading_spans", ["feed_id", "last_at"])
    op.create_table(
        "windows",
        sa.Column("feed_id", sa.Text(), nullable=False),
        sa.Column("start_at", Moment(), nullable=False),
        sa.Column("end_at", Moment(), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("evaluated_revision", sa.Integer(), nullable=False),
        sa.Column("evaluated_at", Moment(), nullable=True),
        sa.Column("rules_digest", sa.String(length=64), nullable=True),
        sa.PrimaryKeyConstraint("feed_id", "start_at", name=op.f("pk_windows")),
        comment="Spans of time of a sensor feed; one whose revision is newer than what was"
        " evaluated is open.",
    )
    op.create_index("ix_windows_end_at", "windows", ["end_at"])
    op.create_table(
        "sensor_problems",
        sa.Column("feed_id", sa.Text(), nullable=False),
        sa.Column("start_at", Moment(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("rule_id", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("device_id", sa.Text(), nullable=False),
        sa.Column("quantity", sa.Text(), nullable=False),
        sa.Column("continues", sa.Boolean(), nullable=False),
        sa.Column("onset_at", Moment(), nullable=False),
        sa.Column("alarm_at", Moment(), nullable=False),
        sa.Column("last_at", Moment(), nullable=False),
        sa.Column("end_at", Moment(), nullable=True),
        sa.Column("reasons", schema.Document, nullable=False),
        sa.PrimaryKeyConstraint("feed_id", "start_at", "number", name=op.f("pk_sensor_problems")),
        comment="What each window shows to be wrong with the sensors themselves.",
    )
    op.create_index("ix_sensor_problems_last_at", "sensor_problems", ["last_at"])
    op.create_table(
        "sensor_leads",
        sa.Column("lead_id", sa.Text(), nullable=False),
        sa.Column("feed_id", sa.Text(), nullable=False),
        sa.Column("series", sa.Text(), nullable=False),
        sa.Column("alarm_at", Moment(), nullable=False),
        sa.Column("last_at", Moment(), nullable=False),
        sa.Column("finding", schema.Document, nullable=False),
        sa.ForeignKeyConstraint(
            ["lead_id"], ["leads.lead_id"], name=op.f("fk_sensor_leads_lead_id_leads")
        ),
        sa.PrimaryKeyConstraint("lead_id", name=op.f("pk_sensor_leads")),
        comment="What a lead of readings rests on.",
    )
    op.create_index("ix_sensor_leads_feed_id_alarm_at", "sensor_leads", ["feed_id", "alarm_at"])
