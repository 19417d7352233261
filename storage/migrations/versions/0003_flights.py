"""Flights, their files and comparisons, their places on the ground; missions of the API."""

import sqlalchemy as sa
from alembic import op

from storage.migrations import gate_v1
from storage.records import roles, schema
from storage.records.schema import Moment

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    _create_flights()
    _create_findings()
    connection = op.get_bind()
    guarded = (
        schema.missions, schema.flight_files, schema.dock_uploads, schema.comparisons,
        schema.ground_fixes,
    )  # fmt: skip
    if connection.dialect.name == "postgresql":
        statements = gate_v1.insert_only_postgresql(guarded)
    else:
        statements = gate_v1.insert_only_sqlite(guarded)
    for statement in statements:
        connection.exec_driver_sql(statement)
    if connection.dialect.name == "postgresql":
        roles.grant(connection)


def downgrade() -> None:
    raise RuntimeError("flights and their files are part of the record; they are never taken back")


def _create_flights() -> None:
    op.create_table(
        "missions",
        sa.Column("mission_id", sa.Text(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("document", schema.Document, nullable=False),
        sa.Column("account_id", sa.Text(), nullable=False),
        sa.Column("at", Moment(), nullable=False),
        sa.ForeignKeyConstraint(
            ["account_id"], ["accounts.account_id"], name=op.f("fk_missions_account_id_accounts")
        ),
        sa.PrimaryKeyConstraint("mission_id", "version", name=op.f("pk_missions")),
        comment="Missions that were given to the API; the highest version of each holds.",
    )
    op.create_table(
        "flights",
        sa.Column("feed_id", sa.Text(), nullable=False),
        sa.Column("mission_id", sa.Text(), nullable=False),
        sa.Column("flight_id", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("first_file_at", Moment(), nullable=False),
        sa.Column("last_file_at", Moment(), nullable=False),
        sa.Column("closed_at", Moment(), nullable=True),
        sa.Column("began_at", Moment(), nullable=True),
        sa.Column("mission_digest", sa.String(length=64), nullable=True),
        sa.Column("detail", schema.Document, nullable=False),
        sa.PrimaryKeyConstraint("feed_id", "mission_id", "flight_id", name=op.f("pk_flights")),
        comment="How far each flight has come: awaited, accepted, refused, repeated.",
    )
    op.create_index(op.f("ix_flights_state"), "flights", ["state"])
    op.create_table(
        "flight_files",
        sa.Column("feed_id", sa.Text(), nullable=False),
        sa.Column("mission_id", sa.Text(), nullable=False),
        sa.Column("flight_id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("capture_id", sa.Text(), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("modified_at", Moment(), nullable=False),
        sa.Column("filed_at", Moment(), nullable=False),
        sa.ForeignKeyConstraint(
            ["capture_id"], ["captures.capture_id"],
            name=op.f("fk_flight_files_capture_id_captures"),
        ),
        sa.PrimaryKeyConstraint(
            "feed_id", "mission_id", "flight_id", "name", "capture_id",
            name=op.f("pk_flight_files"),
        ),
        comment="The files of each flight, by their names in it.",
    )  # fmt: skip
    op.create_index(op.f("ix_flight_files_capture_id"), "flight_files", ["capture_id"])
    op.create_table(
        "strays",
        sa.Column("feed_id", sa.Text(), nullable=False),
        sa.Column("at", Moment(), nullable=False),
        sa.Column("lines", schema.Document, nullable=False),
        sa.PrimaryKeyConstraint("feed_id", name=op.f("pk_strays")),
        comment="What lies in a drone's source outside of any flight at present, and why it is"
        " left.",
    )
    op.create_table(
        "dock_uploads",
        sa.Column("flight_id", sa.Text(), nullable=False),
        sa.Column("object_key", sa.Text(), nullable=False),
        sa.Column("expected", sa.Integer(), nullable=True),
        sa.Column("uploaded", sa.Integer(), nullable=True),
        sa.Column("gateway", sa.Text(), nullable=False),
        sa.Column("received_at", Moment(), nullable=False),
        sa.Column("capture_id", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["capture_id"], ["captures.capture_id"],
            name=op.f("fk_dock_uploads_capture_id_captures"),
        ),
        sa.PrimaryKeyConstraint("flight_id", "object_key", name=op.f("pk_dock_uploads")),
        comment="What docks said of their uploads, and the messages in which they did.",
    )  # fmt: skip


def _create_findings() -> None:
    op.create_table(
        "comparisons",
        sa.Column("mission_id", sa.Text(), nullable=False),
        sa.Column("before_flight", sa.Text(), nullable=False),
        sa.Column("after_flight", sa.Text(), nullable=False),
        sa.Column("inputs_digest", sa.String(length=64), nullable=False),
        sa.Column("refusal", sa.Text(), nullable=True),
        sa.Column("changes", sa.Integer(), nullable=False),
        sa.Column("at", Moment(), nullable=False),
        sa.PrimaryKeyConstraint(
            "mission_id", "before_flight", "after_flight", "inputs_digest",
            name=op.f("pk_comparisons"),
        ),
        comment="Pairs of flights of a mission that were compared.",
    )  # fmt: skip
    op.create_table(
        "ground_fixes",
        sa.Column("lead_id", sa.Text(), nullable=False),
        sa.Column("latitude_deg", sa.Float(), nullable=False),
        sa.Column("longitude_deg", sa.Float(), nullable=False),
        sa.Column("radius_m", sa.Float(), nullable=False),
        sa.Column("mission_id", sa.Text(), nullable=False),
        sa.Column("from_at", Moment(), nullable=False),
        sa.Column("to_at", Moment(), nullable=False),
        sa.ForeignKeyConstraint(
            ["lead_id"], ["leads.lead_id"], name=op.f("fk_ground_fixes_lead_id_leads")
        ),
        sa.PrimaryKeyConstraint("lead_id", name=op.f("pk_ground_fixes")),
        comment="Where on the ground a drone's lead is, and when it came to be there.",
    )
    op.create_index("ix_ground_fixes_mission_id_to_at", "ground_fixes", ["mission_id", "to_at"])
