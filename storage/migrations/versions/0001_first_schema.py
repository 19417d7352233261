"""The first schema: captures, observations, leads, cases, confirmations, outbox, and their gate."""

import sqlalchemy as sa
from alembic import op

from storage.migrations import gate_v1
from storage.records import roles
from storage.records.schema import Document, Moment

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    _create_tables()
    connection = op.get_bind()
    if connection.dialect.name == "postgresql":
        roles.ensure_roles(connection)
        statements = gate_v1.postgresql_ddl()
    else:
        statements = gate_v1.sqlite_ddl()
    for statement in statements:
        connection.exec_driver_sql(statement)
    if connection.dialect.name == "postgresql":
        roles.grant(connection)


def downgrade() -> None:
    raise RuntimeError("the first schema holds the record of cases; it is never taken back")


def _create_tables() -> None:
    op.create_table(
        "accounts",
        sa.Column("account_id", sa.Text(), nullable=False),
        sa.Column("username", sa.Text(), nullable=False),
        sa.Column("username_key", sa.Text(), nullable=False),
        sa.Column("person_id", sa.Text(), nullable=False),
        sa.Column("display_name", sa.Text(), nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("active", sa.Boolean(), nullable=False),
        sa.Column("certificate_no", sa.Text(), nullable=True),
        sa.Column("certificate_valid_from", Moment(), nullable=True),
        sa.Column("certificate_valid_until", Moment(), nullable=True),
        sa.Column("password_hash", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("account_id", name=op.f("pk_accounts")),
        sa.UniqueConstraint("username_key", name=op.f("uq_accounts_username_key")),
    )
    op.create_table(
        "captures",
        sa.Column("capture_id", sa.Text(), nullable=False),
        sa.Column("feed_id", sa.Text(), nullable=False),
        sa.Column("bucket", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("version_id", sa.Text(), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("media_type", sa.Text(), nullable=False),
        sa.Column("captured_at", Moment(), nullable=False),
        sa.Column("received_at", Moment(), nullable=False),
        sa.Column("clock_offset_s", sa.Float(), nullable=False),
        sa.Column("source_name", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("capture_id", name=op.f("pk_captures")),
        sa.UniqueConstraint("feed_id", "sha256", name=op.f("uq_captures_feed_id_sha256")),
    )
    op.create_index(op.f("ix_captures_received_at"), "captures", ["received_at"], unique=False)
    op.create_table(
        "denials",
        sa.Column("denial_id", sa.Text(), nullable=False),
        sa.Column("at", Moment(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("lead_id", sa.Text(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("denial_id", name=op.f("pk_denials")),
    )
    op.create_table(
        "login_attempts",
        sa.Column("attempt_id", sa.Text(), nullable=False),
        sa.Column("username_key", sa.Text(), nullable=False),
        sa.Column("address", sa.Text(), nullable=False),
        sa.Column("at", Moment(), nullable=False),
        sa.Column("succeeded", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("attempt_id", name=op.f("pk_login_attempts")),
    )
    op.create_index(
        "ix_login_attempts_username_key_at", "login_attempts", ["username_key", "at"], unique=False
    )
    op.create_table(
        "correlations",
        sa.Column("capture_id", sa.Text(), nullable=False),
        sa.Column("rules_digest", sa.String(length=64), nullable=False),
        sa.Column("findings", sa.Integer(), nullable=False),
        sa.Column("at", Moment(), nullable=False),
        sa.ForeignKeyConstraint(
            ["capture_id"], ["captures.capture_id"], name=op.f("fk_correlations_capture_id")
        ),
        sa.PrimaryKeyConstraint("capture_id", "rules_digest", name=op.f("pk_correlations")),
        comment="Captures whose observations were held against the rules.",
    )
    op.create_table(
        "leads",
        sa.Column("lead_id", sa.Text(), nullable=False),
        sa.Column("rule_id", sa.Text(), nullable=False),
        sa.Column("rule_version", sa.Integer(), nullable=False),
        sa.Column("rule_digest", sa.String(length=64), nullable=False),
        sa.Column("feed_id", sa.Text(), nullable=False),
        sa.Column("site_id", sa.Text(), nullable=False),
        sa.Column("zone_id", sa.Text(), nullable=False),
        sa.Column("capture_id", sa.Text(), nullable=False),
        sa.Column("alarm_at", Moment(), nullable=False),
        sa.Column("alarm_at_s", sa.Float(), nullable=False),
        sa.Column("onset_s", sa.Float(), nullable=False),
        sa.Column("end_s", sa.Float(), nullable=True),
        sa.Column("score", sa.Float(), nullable=False),
        sa.Column("box", Document, nullable=False),
        sa.Column("reasons", Document, nullable=False),
        sa.Column("seeded", sa.Boolean(), nullable=False),
        sa.Column("raised_at", Moment(), nullable=False),
        sa.ForeignKeyConstraint(
            ["capture_id"], ["captures.capture_id"], name=op.f("fk_leads_capture_id")
        ),
        sa.PrimaryKeyConstraint("lead_id", name=op.f("pk_leads")),
    )
    op.create_index(op.f("ix_leads_capture_id"), "leads", ["capture_id"], unique=False)
    op.create_index(
        "ix_leads_incident", "leads", ["rule_id", "feed_id", "zone_id", "alarm_at"], unique=False
    )
    op.create_table(
        "observations",
        sa.Column("capture_id", sa.Text(), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("model_digest", sa.String(length=64), nullable=False),
        sa.Column("config_digest", sa.String(length=64), nullable=False),
        sa.Column("bucket", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("version_id", sa.Text(), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("media_type", sa.Text(), nullable=False),
        sa.Column("tracks", sa.Integer(), nullable=False),
        sa.Column("observed_at", Moment(), nullable=False),
        sa.ForeignKeyConstraint(
            ["capture_id"], ["captures.capture_id"], name=op.f("fk_observations_capture_id")
        ),
        sa.PrimaryKeyConstraint(
            "capture_id", "model", "model_digest", "config_digest", name=op.f("pk_observations")
        ),
    )
    op.create_table(
        "pending",
        sa.Column("capture_id", sa.Text(), nullable=False),
        sa.Column("received_at", Moment(), nullable=False),
        sa.ForeignKeyConstraint(
            ["capture_id"], ["captures.capture_id"], name=op.f("fk_pending_capture_id")
        ),
        sa.PrimaryKeyConstraint("capture_id", name=op.f("pk_pending")),
        comment="Captures whose way to the queue is not finished; small however many there are.",
    )
    op.create_index(op.f("ix_pending_received_at"), "pending", ["received_at"], unique=False)
    op.create_table(
        "pulls",
        sa.Column("feed_id", sa.Text(), nullable=False),
        sa.Column("source_name", sa.Text(), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("modified_at", Moment(), nullable=False),
        sa.Column("capture_id", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["capture_id"], ["captures.capture_id"], name=op.f("fk_pulls_capture_id")
        ),
        sa.PrimaryKeyConstraint(
            "feed_id", "source_name", "size", "modified_at", name=op.f("pk_pulls")
        ),
        comment="Dropped files that were filed already, so that a sweep need not hash them again.",
    )
    op.create_table(
        "quarantine",
        sa.Column("capture_id", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("at", Moment(), nullable=False),
        sa.ForeignKeyConstraint(
            ["capture_id"], ["captures.capture_id"], name=op.f("fk_quarantine_capture_id")
        ),
        sa.PrimaryKeyConstraint("capture_id", name=op.f("pk_quarantine")),
    )
    op.create_table(
        "sessions",
        sa.Column("token_sha256", sa.String(length=64), nullable=False),
        sa.Column("account_id", sa.Text(), nullable=False),
        sa.Column("csrf_token", sa.Text(), nullable=False),
        sa.Column("created_at", Moment(), nullable=False),
        sa.Column("expires_at", Moment(), nullable=False),
        sa.ForeignKeyConstraint(
            ["account_id"], ["accounts.account_id"], name=op.f("fk_sessions_account_id")
        ),
        sa.PrimaryKeyConstraint("token_sha256", name=op.f("pk_sessions")),
    )
    op.create_table(
        "case_facts",
        sa.Column("lead_id", sa.Text(), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("document", sa.Text(), nullable=False),
        sa.Column("confirmations_required", sa.Integer(), nullable=False),
        sa.Column("device_status", sa.Text(), nullable=False),
        sa.Column("seeded", sa.Boolean(), nullable=False),
        sa.Column("at", Moment(), nullable=False),
        sa.CheckConstraint(
            "confirmations_required >= 1", name=op.f("ck_case_facts_someone_confirms")
        ),
        sa.ForeignKeyConstraint(["lead_id"], ["leads.lead_id"], name=op.f("fk_case_facts_lead_id")),
        sa.PrimaryKeyConstraint("lead_id", "revision", name=op.f("pk_case_facts")),
        sa.UniqueConstraint("lead_id", "digest", name=op.f("uq_case_facts_lead_id_digest")),
    )
    op.create_table(
        "cases",
        sa.Column("lead_id", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("claimed_by", sa.Text(), nullable=True),
        sa.Column("lease_until", Moment(), nullable=True),
        sa.Column("triaged_by", sa.Text(), nullable=True),
        sa.Column("facts_revision", sa.Integer(), nullable=False),
        sa.Column("evidence_digest", sa.String(length=64), nullable=False),
        sa.ForeignKeyConstraint(["lead_id"], ["leads.lead_id"], name=op.f("fk_cases_lead_id")),
        sa.PrimaryKeyConstraint("lead_id", name=op.f("pk_cases")),
    )
    op.create_index(op.f("ix_cases_state"), "cases", ["state"], unique=False)
    op.create_table(
        "confirmations",
        sa.Column("confirmation_id", sa.Text(), nullable=False),
        sa.Column("lead_id", sa.Text(), nullable=False),
        sa.Column("evidence_digest", sa.String(length=64), nullable=False),
        sa.Column("account_id", sa.Text(), nullable=False),
        sa.Column("person_id", sa.Text(), nullable=False),
        sa.Column("certificate_no", sa.Text(), nullable=False),
        sa.Column("certificate_valid_from", Moment(), nullable=False),
        sa.Column("certificate_valid_until", Moment(), nullable=False),
        sa.Column("verdict", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("attestations", Document, nullable=False),
        sa.Column("attested", sa.Boolean(), nullable=False),
        sa.Column("decided_at", Moment(), nullable=False),
        sa.ForeignKeyConstraint(
            ["account_id"], ["accounts.account_id"], name=op.f("fk_confirmations_account_id")
        ),
        sa.ForeignKeyConstraint(
            ["lead_id"], ["leads.lead_id"], name=op.f("fk_confirmations_lead_id")
        ),
        sa.PrimaryKeyConstraint("confirmation_id", name=op.f("pk_confirmations")),
        sa.UniqueConstraint(
            "lead_id",
            "evidence_digest",
            "person_id",
            name=op.f("uq_confirmations_lead_id_evidence_digest_person_id"),
        ),
    )
    op.create_table(
        "events",
        sa.Column("lead_id", sa.Text(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("actor_role", sa.Text(), nullable=False),
        sa.Column("at", Moment(), nullable=False),
        sa.Column("from_state", sa.Text(), nullable=False),
        sa.Column("to_state", sa.Text(), nullable=False),
        sa.Column("detail", Document, nullable=False),
        sa.ForeignKeyConstraint(["lead_id"], ["leads.lead_id"], name=op.f("fk_events_lead_id")),
        sa.PrimaryKeyConstraint("lead_id", "version", name=op.f("pk_events")),
    )
    op.create_table(
        "evidence_views",
        sa.Column("view_id", sa.Text(), nullable=False),
        sa.Column("lead_id", sa.Text(), nullable=False),
        sa.Column("item_id", sa.Text(), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("account_id", sa.Text(), nullable=False),
        sa.Column("at", Moment(), nullable=False),
        sa.ForeignKeyConstraint(
            ["lead_id"], ["leads.lead_id"], name=op.f("fk_evidence_views_lead_id")
        ),
        sa.PrimaryKeyConstraint("view_id", name=op.f("pk_evidence_views")),
    )
    op.create_index(op.f("ix_evidence_views_lead_id"), "evidence_views", ["lead_id"], unique=False)
    op.create_table(
        "outbox",
        sa.Column("event_id", sa.Text(), nullable=False),
        sa.Column("lead_id", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("recipient_id", sa.Text(), nullable=False),
        sa.Column("evidence_digest", sa.String(length=64), nullable=False),
        sa.Column("payload", sa.Text(), nullable=False),
        sa.Column("created_at", Moment(), nullable=False),
        sa.CheckConstraint("kind IN ('dispatch', 'recall')", name=op.f("ck_outbox_kind_known")),
        sa.ForeignKeyConstraint(["lead_id"], ["leads.lead_id"], name=op.f("fk_outbox_lead_id")),
        sa.PrimaryKeyConstraint("event_id", name=op.f("pk_outbox")),
        sa.UniqueConstraint(
            "lead_id", "kind", "recipient_id", name=op.f("uq_outbox_lead_id_kind_recipient_id")
        ),
    )
    op.create_table(
        "recusals",
        sa.Column("lead_id", sa.Text(), nullable=False),
        sa.Column("person_id", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("at", Moment(), nullable=False),
        sa.ForeignKeyConstraint(["lead_id"], ["leads.lead_id"], name=op.f("fk_recusals_lead_id")),
        sa.PrimaryKeyConstraint("lead_id", "person_id", name=op.f("pk_recusals")),
    )
    op.create_table(
        "deliveries",
        sa.Column("event_id", sa.Text(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("at", Moment(), nullable=False),
        sa.Column("delivered", sa.Boolean(), nullable=False),
        sa.Column("answer", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["event_id"], ["outbox.event_id"], name=op.f("fk_deliveries_event_id")
        ),
        sa.PrimaryKeyConstraint("event_id", "attempt", name=op.f("pk_deliveries")),
        comment="Attempts to hand an event over; the delivered one is the receipt.",
    )
