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
    connection = op.get_bind()
    guarded = (schema.view_problems, schema.gaps, schema.reading_spans)
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
    op.create_table(
        "reading_spans",
        sa.Column("capture_id", sa.Text(), nullable=False),
        sa.Column("feed_id", sa.Text(), nullable=False),
        sa.Column("first_at", Moment(), nullable=False),
        sa.Column("last_at", Moment(), nullable=False),
        sa.Column("readings", sa.Integer(), nullable=False),
        sa.Column("refused", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(
            ["capture_id"], ["captures.capture_id"],
            name=op.f("fk_reading_spans_capture_id_captures"),
        ),
        sa.PrimaryKeyConstraint("capture_id", name=op.f("pk_reading_spans")),
        comment="Which moments the readings of a capture are of.",
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
