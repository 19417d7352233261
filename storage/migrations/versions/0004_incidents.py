"""Incidents: leads whose evidence joins another lead's case, and captures by their time."""

import sqlalchemy as sa
from alembic import op

from storage.migrations import gate_v1, gate_v2
from storage.records import roles, schema
from storage.records.schema import Moment

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    _create_joined_leads()
    op.create_index("ix_captures_feed_id_captured_at", "captures", ["feed_id", "captured_at"])
    connection = op.get_bind()
    if connection.dialect.name == "postgresql":
        statements = gate_v1.insert_only_postgresql([schema.joined_leads])
        statements += gate_v2.postgresql_ddl()
    else:
        statements = gate_v1.insert_only_sqlite([schema.joined_leads])
        statements += gate_v2.sqlite_ddl()
    for statement in statements:
        connection.exec_driver_sql(statement)
    if connection.dialect.name == "postgresql":
        roles.grant(connection)


def downgrade() -> None:
    raise RuntimeError("which leads are part of which case is part of the record")


def _create_joined_leads() -> None:
    op.create_table(
        "joined_leads",
        sa.Column("lead_id", sa.Text(), nullable=False),
        sa.Column("case_id", sa.Text(), nullable=False),
        sa.Column("facts_revision", sa.Integer(), nullable=False),
        sa.Column("bucket", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("version_id", sa.Text(), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("media_type", sa.Text(), nullable=False),
        sa.Column("at", Moment(), nullable=False),
        sa.ForeignKeyConstraint(
            ["lead_id"], ["leads.lead_id"], name=op.f("fk_joined_leads_lead_id_leads")
        ),
        sa.ForeignKeyConstraint(
            ["case_id"], ["leads.lead_id"], name=op.f("fk_joined_leads_case_id_leads")
        ),
        sa.PrimaryKeyConstraint("lead_id", name=op.f("pk_joined_leads")),
        sa.UniqueConstraint(
            "case_id", "facts_revision", name=op.f("uq_joined_leads_case_id_facts_revision")
        ),
        comment="Leads whose evidence is part of another lead's case.",
    )
