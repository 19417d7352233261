"""The tables. All but ``pending``, ``windows``, ``sensor_problems``, ``feed_states``, ``flights``,
``strays``, ``cases``, ``sessions`` and ``accounts`` are insert-only.

The rules that the database itself enforces (insert-only, allowed transitions, confirmations
before dispatch) are triggers: see ``storage/migrations/gate_v2.py``.
"""

from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql
from sqlalchemy.engine import Dialect
from sqlalchemy.types import TypeDecorator, TypeEngine

_SQLITE_FORMAT = "%Y-%m-%dT%H:%M:%S.%fZ"


class Moment(TypeDecorator[datetime]):
    """An aware UTC moment: TIMESTAMPTZ in PostgreSQL, sortable ISO text in SQLite."""

    impl = sa.DateTime(timezone=True)
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        if dialect.name == "sqlite":
            return dialect.type_descriptor(sa.String(27))
        return dialect.type_descriptor(postgresql.TIMESTAMP(timezone=True))

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> object:
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("a moment needs a time zone")
        value = value.astimezone(UTC)
        return value.strftime(_SQLITE_FORMAT) if dialect.name == "sqlite" else value

    def process_result_value(self, value: object, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        if isinstance(value, datetime):
            return value.astimezone(UTC)
        return datetime.strptime(str(value), _SQLITE_FORMAT).replace(tzinfo=UTC)


Document = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")

metadata = sa.MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    }
)


def _stored_object() -> list[sa.Column[object]]:
    """The columns that name stored bytes; the same in every table that points to some."""
    return [
        sa.Column("bucket", sa.Text, nullable=False),
        sa.Column("key", sa.Text, nullable=False),
        sa.Column("version_id", sa.Text, nullable=False),
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.Column("size", sa.BigInteger, nullable=False),
        sa.Column("media_type", sa.Text, nullable=False),
    ]


captures = sa.Table(
    "captures",
    metadata,
    sa.Column("capture_id", sa.Text, primary_key=True),
    sa.Column("feed_id", sa.Text, nullable=False),
    *_stored_object(),
    sa.Column("captured_at", Moment, nullable=False),
    sa.Column("received_at", Moment, nullable=False, index=True),
    sa.Column("clock_offset_s", sa.Float, nullable=False),
    sa.Column("source_name", sa.Text, nullable=False),
    # A camera never sends the same bytes twice: a second copy is a replay.
    sa.UniqueConstraint("feed_id", "sha256"),
    sa.Index("ix_captures_feed_id_captured_at", "feed_id", "captured_at"),
)

pending = sa.Table(
    "pending",
    metadata,
    sa.Column("capture_id", sa.ForeignKey("captures.capture_id"), primary_key=True),
    sa.Column("received_at", Moment, nullable=False, index=True),
    comment="Captures whose way to the queue is not finished; small however many there are.",
)

pulls = sa.Table(
    "pulls",
    metadata,
    sa.Column("feed_id", sa.Text, primary_key=True),
    sa.Column("source_name", sa.Text, primary_key=True),
    sa.Column("size", sa.BigInteger, primary_key=True),
    sa.Column("modified_at", Moment, primary_key=True),
    sa.Column("capture_id", sa.ForeignKey("captures.capture_id"), nullable=False),
    comment="Dropped files that were filed already, so that a sweep need not hash them again.",
)

quarantine = sa.Table(
    "quarantine",
    metadata,
    sa.Column("capture_id", sa.ForeignKey("captures.capture_id"), primary_key=True),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("at", Moment, nullable=False),
)

observations = sa.Table(
    "observations",
    metadata,
    sa.Column("capture_id", sa.ForeignKey("captures.capture_id"), primary_key=True),
    sa.Column("model", sa.Text, primary_key=True),
    sa.Column("model_digest", sa.String(64), primary_key=True),
    sa.Column("config_digest", sa.String(64), primary_key=True),
    *_stored_object(),
    sa.Column("tracks", sa.Integer, nullable=False),
    sa.Column("observed_at", Moment, nullable=False),
)

view_problems = sa.Table(
    "view_problems",
    metadata,
    sa.Column("capture_id", sa.ForeignKey("captures.capture_id"), primary_key=True),
    sa.Column("problem", sa.Text, primary_key=True),
    sa.Column("start_s", sa.Float, primary_key=True),
    sa.Column("end_s", sa.Float, nullable=False),
    sa.Column("share", sa.Float, nullable=False),
    comment="When a view was no good: what the observations say of it, to be asked by feed.",
)

gaps = sa.Table(
    "gaps",
    metadata,
    sa.Column("feed_id", sa.Text, primary_key=True),
    sa.Column("from_at", Moment, primary_key=True),
    sa.Column("to_at", Moment, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("noted_at", Moment, nullable=False),
    comment="When a live feed gave nothing, or nothing of it could be kept.",
)

feed_states = sa.Table(
    "feed_states",
    metadata,
    sa.Column("feed_id", sa.Text, primary_key=True),
    sa.Column("at", Moment, nullable=False),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("detail", Document, nullable=False),
    comment="How the collector finds each live feed at present.",
)

reading_spans = sa.Table(
    "reading_spans",
    metadata,
    sa.Column("capture_id", sa.ForeignKey("captures.capture_id"), primary_key=True),
    # How it was read: another format of the feed gives other readings of the same capture.
    sa.Column("config_digest", sa.String(64), primary_key=True),
    sa.Column("feed_id", sa.Text, nullable=False),
    *_stored_object(),
    sa.Column("first_at", Moment),
    sa.Column("last_at", Moment),
    sa.Column("readings", sa.Integer, nullable=False),
    sa.Column("refused", sa.Integer, nullable=False),
    sa.Column("too_late", sa.Integer, nullable=False),
    sa.Column("read_at", Moment, nullable=False),
    sa.Index("ix_reading_spans_feed_id_last_at", "feed_id", "last_at"),
    comment="The readings of a capture: where they lie, and which moments they are of.",
)

windows = sa.Table(
    "windows",
    metadata,
    sa.Column("feed_id", sa.Text, primary_key=True),
    sa.Column("start_at", Moment, primary_key=True),
    sa.Column("end_at", Moment, nullable=False),
    sa.Column("revision", sa.Integer, nullable=False),
    sa.Column("evaluated_revision", sa.Integer, nullable=False),
    sa.Column("evaluated_at", Moment),
    sa.Column("rules_digest", sa.String(64)),
    sa.Index("ix_windows_end_at", "end_at"),
    comment="Spans of time of a sensor feed; one whose revision is newer than what was evaluated"
    " is open.",
)

sensor_problems = sa.Table(
    "sensor_problems",
    metadata,
    sa.Column("feed_id", sa.Text, primary_key=True),
    sa.Column("start_at", Moment, primary_key=True),
    sa.Column("number", sa.Integer, primary_key=True),
    sa.Column("rule_id", sa.Text, nullable=False),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("device_id", sa.Text, nullable=False),
    sa.Column("quantity", sa.Text, nullable=False),
    sa.Column("continues", sa.Boolean, nullable=False),
    sa.Column("onset_at", Moment, nullable=False),
    sa.Column("alarm_at", Moment, nullable=False),
    sa.Column("last_at", Moment, nullable=False),
    sa.Column("end_at", Moment),
    sa.Column("reasons", Document, nullable=False),
    sa.Index("ix_sensor_problems_last_at", "last_at"),
    comment="What each window shows to be wrong with the sensors themselves.",
)

correlations = sa.Table(
    "correlations",
    metadata,
    sa.Column("capture_id", sa.ForeignKey("captures.capture_id"), primary_key=True),
    sa.Column("rules_digest", sa.String(64), primary_key=True),
    sa.Column("findings", sa.Integer, nullable=False),
    sa.Column("at", Moment, nullable=False),
    comment="Captures whose observations were held against the rules.",
)

leads = sa.Table(
    "leads",
    metadata,
    sa.Column("lead_id", sa.Text, primary_key=True),
    sa.Column("rule_id", sa.Text, nullable=False),
    sa.Column("rule_version", sa.Integer, nullable=False),
    sa.Column("rule_digest", sa.String(64), nullable=False),
    sa.Column("feed_id", sa.Text, nullable=False),
    sa.Column("site_id", sa.Text, nullable=False),
    sa.Column("zone_id", sa.Text, nullable=False),
    sa.Column("capture_id", sa.ForeignKey("captures.capture_id"), nullable=False, index=True),
    sa.Column("alarm_at", Moment, nullable=False),
    sa.Column("alarm_at_s", sa.Float, nullable=False),
    sa.Column("onset_s", sa.Float, nullable=False),
    sa.Column("end_s", sa.Float),
    sa.Column("score", sa.Float, nullable=False),
    sa.Column("box", Document, nullable=False),
    sa.Column("reasons", Document, nullable=False),
    sa.Column("seeded", sa.Boolean, nullable=False),
    sa.Column("raised_at", Moment, nullable=False),
    sa.Index("ix_leads_incident", "rule_id", "feed_id", "zone_id", "alarm_at"),
)

sensor_leads = sa.Table(
    "sensor_leads",
    metadata,
    sa.Column("lead_id", sa.ForeignKey("leads.lead_id"), primary_key=True),
    sa.Column("feed_id", sa.Text, nullable=False),
    sa.Column("series", sa.Text, nullable=False),
    sa.Column("alarm_at", Moment, nullable=False),
    sa.Column("last_at", Moment, nullable=False),
    sa.Column("finding", Document, nullable=False),
    sa.Index("ix_sensor_leads_feed_id_alarm_at", "feed_id", "alarm_at"),
    comment="What a lead of readings rests on.",
)

missions = sa.Table(
    "missions",
    metadata,
    sa.Column("mission_id", sa.Text, primary_key=True),
    sa.Column("version", sa.Integer, primary_key=True),
    sa.Column("document", Document, nullable=False),
    sa.Column("account_id", sa.ForeignKey("accounts.account_id"), nullable=False),
    sa.Column("at", Moment, nullable=False),
    comment="Missions that were given to the API; the highest version of each holds.",
)

flights = sa.Table(
    "flights",
    metadata,
    sa.Column("feed_id", sa.Text, primary_key=True),
    sa.Column("mission_id", sa.Text, primary_key=True),
    sa.Column("flight_id", sa.Text, primary_key=True),
    sa.Column("state", sa.Text, nullable=False, index=True),
    sa.Column("first_file_at", Moment, nullable=False),
    sa.Column("last_file_at", Moment, nullable=False),
    sa.Column("closed_at", Moment),
    sa.Column("began_at", Moment),
    sa.Column("mission_digest", sa.String(64)),
    sa.Column("detail", Document, nullable=False),
    comment="How far each flight has come: awaited, accepted, refused, repeated.",
)

flight_files = sa.Table(
    "flight_files",
    metadata,
    sa.Column("feed_id", sa.Text, primary_key=True),
    sa.Column("mission_id", sa.Text, primary_key=True),
    sa.Column("flight_id", sa.Text, primary_key=True),
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("capture_id", sa.ForeignKey("captures.capture_id"), primary_key=True, index=True),
    sa.Column("size", sa.BigInteger, nullable=False),
    sa.Column("modified_at", Moment, nullable=False),
    sa.Column("filed_at", Moment, nullable=False),
    comment="The files of each flight, by their names in it.",
)

strays = sa.Table(
    "strays",
    metadata,
    sa.Column("feed_id", sa.Text, primary_key=True),
    sa.Column("at", Moment, nullable=False),
    sa.Column("lines", Document, nullable=False),
    comment="What lies in a drone's source outside of any flight at present, and why it is left.",
)

dock_uploads = sa.Table(
    "dock_uploads",
    metadata,
    sa.Column("flight_id", sa.Text, primary_key=True),
    sa.Column("object_key", sa.Text, primary_key=True),
    sa.Column("expected", sa.Integer),
    sa.Column("uploaded", sa.Integer),
    sa.Column("gateway", sa.Text, nullable=False),
    sa.Column("received_at", Moment, nullable=False),
    sa.Column("capture_id", sa.ForeignKey("captures.capture_id"), nullable=False),
    comment="What docks said of their uploads, and the messages in which they did.",
)

comparisons = sa.Table(
    "comparisons",
    metadata,
    sa.Column("mission_id", sa.Text, primary_key=True),
    sa.Column("before_flight", sa.Text, primary_key=True),
    sa.Column("after_flight", sa.Text, primary_key=True),
    # Over the footage: a file that comes later has the pair compared again.
    sa.Column("inputs_digest", sa.String(64), primary_key=True),
    sa.Column("refusal", sa.Text),
    sa.Column("changes", sa.Integer, nullable=False),
    sa.Column("at", Moment, nullable=False),
    comment="Pairs of flights of a mission that were compared.",
)

ground_fixes = sa.Table(
    "ground_fixes",
    metadata,
    sa.Column("lead_id", sa.ForeignKey("leads.lead_id"), primary_key=True),
    sa.Column("latitude_deg", sa.Float, nullable=False),
    sa.Column("longitude_deg", sa.Float, nullable=False),
    sa.Column("radius_m", sa.Float, nullable=False),
    sa.Column("mission_id", sa.Text, nullable=False),
    sa.Column("from_at", Moment, nullable=False),
    sa.Column("to_at", Moment, nullable=False),
    sa.Index("ix_ground_fixes_mission_id_to_at", "mission_id", "to_at"),
    comment="Where on the ground a drone's lead is, and when it came to be there.",
)

case_facts = sa.Table(
    "case_facts",
    metadata,
    sa.Column("lead_id", sa.ForeignKey("leads.lead_id"), primary_key=True),
    sa.Column("revision", sa.Integer, primary_key=True),
    sa.Column("digest", sa.String(64), nullable=False),
    sa.Column("document", sa.Text, nullable=False),
    sa.Column("confirmations_required", sa.Integer, nullable=False),
    sa.Column("device_status", sa.Text, nullable=False),
    sa.Column("seeded", sa.Boolean, nullable=False),
    sa.Column("at", Moment, nullable=False),
    sa.UniqueConstraint("lead_id", "digest"),
    sa.CheckConstraint("confirmations_required >= 1", name="someone_confirms"),
)

joined_leads = sa.Table(
    "joined_leads",
    metadata,
    sa.Column("lead_id", sa.ForeignKey("leads.lead_id"), primary_key=True),
    sa.Column("case_id", sa.ForeignKey("leads.lead_id"), nullable=False),
    sa.Column("facts_revision", sa.Integer, nullable=False),
    *_stored_object(),
    sa.Column("at", Moment, nullable=False),
    sa.UniqueConstraint("case_id", "facts_revision"),
    comment="Leads whose evidence is part of another lead's case.",
)

cases = sa.Table(
    "cases",
    metadata,
    sa.Column("lead_id", sa.ForeignKey("leads.lead_id"), primary_key=True),
    sa.Column("state", sa.Text, nullable=False, index=True),
    sa.Column("version", sa.Integer, nullable=False),
    sa.Column("claimed_by", sa.Text),
    sa.Column("lease_until", Moment),
    sa.Column("triaged_by", sa.Text),
    sa.Column("facts_revision", sa.Integer, nullable=False),
    sa.Column("evidence_digest", sa.String(64), nullable=False),
)

events = sa.Table(
    "events",
    metadata,
    sa.Column("lead_id", sa.ForeignKey("leads.lead_id"), primary_key=True),
    sa.Column("version", sa.Integer, primary_key=True),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("actor", sa.Text, nullable=False),
    sa.Column("actor_role", sa.Text, nullable=False),
    sa.Column("at", Moment, nullable=False),
    sa.Column("from_state", sa.Text, nullable=False),
    sa.Column("to_state", sa.Text, nullable=False),
    sa.Column("detail", Document, nullable=False),
)

accounts = sa.Table(
    "accounts",
    metadata,
    sa.Column("account_id", sa.Text, primary_key=True),
    sa.Column("username", sa.Text, nullable=False),
    sa.Column("username_key", sa.Text, nullable=False, unique=True),
    sa.Column("person_id", sa.Text, nullable=False),
    sa.Column("display_name", sa.Text, nullable=False),
    sa.Column("role", sa.Text, nullable=False),
    sa.Column("active", sa.Boolean, nullable=False),
    sa.Column("certificate_no", sa.Text),
    sa.Column("certificate_valid_from", Moment),
    sa.Column("certificate_valid_until", Moment),
    sa.Column("password_hash", sa.Text, nullable=False),
)

confirmations = sa.Table(
    "confirmations",
    metadata,
    sa.Column("confirmation_id", sa.Text, primary_key=True),
    sa.Column("lead_id", sa.ForeignKey("leads.lead_id"), nullable=False),
    sa.Column("evidence_digest", sa.String(64), nullable=False),
    sa.Column("account_id", sa.ForeignKey("accounts.account_id"), nullable=False),
    sa.Column("person_id", sa.Text, nullable=False),
    sa.Column("certificate_no", sa.Text, nullable=False),
    sa.Column("certificate_valid_from", Moment, nullable=False),
    sa.Column("certificate_valid_until", Moment, nullable=False),
    sa.Column("verdict", sa.Text, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("attestations", Document, nullable=False),
    sa.Column("attested", sa.Boolean, nullable=False),
    sa.Column("decided_at", Moment, nullable=False),
    sa.UniqueConstraint("lead_id", "evidence_digest", "person_id"),
)

recusals = sa.Table(
    "recusals",
    metadata,
    sa.Column("lead_id", sa.ForeignKey("leads.lead_id"), primary_key=True),
    sa.Column("person_id", sa.Text, primary_key=True),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("at", Moment, nullable=False),
)

evidence_views = sa.Table(
    "evidence_views",
    metadata,
    sa.Column("view_id", sa.Text, primary_key=True),
    sa.Column("lead_id", sa.ForeignKey("leads.lead_id"), nullable=False, index=True),
    sa.Column("item_id", sa.Text, nullable=False),
    sa.Column("sha256", sa.String(64), nullable=False),
    sa.Column("account_id", sa.Text, nullable=False),
    sa.Column("at", Moment, nullable=False),
)

outbox = sa.Table(
    "outbox",
    metadata,
    sa.Column("event_id", sa.Text, primary_key=True),
    sa.Column("lead_id", sa.ForeignKey("leads.lead_id"), nullable=False),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("recipient_id", sa.Text, nullable=False),
    sa.Column("evidence_digest", sa.String(64), nullable=False),
    sa.Column("payload", sa.Text, nullable=False),
    sa.Column("created_at", Moment, nullable=False),
    sa.UniqueConstraint("lead_id", "kind", "recipient_id"),
    sa.CheckConstraint("kind IN ('dispatch', 'recall')", name="kind_known"),
)

deliveries = sa.Table(
    "deliveries",
    metadata,
    sa.Column("event_id", sa.ForeignKey("outbox.event_id"), primary_key=True),
    sa.Column("attempt", sa.Integer, primary_key=True),
    sa.Column("at", Moment, nullable=False),
    sa.Column("delivered", sa.Boolean, nullable=False),
    sa.Column("answer", sa.Text, nullable=False),
    comment="Attempts to hand an event over; the delivered one is the receipt.",
)

denials = sa.Table(
    "denials",
    metadata,
    sa.Column("denial_id", sa.Text, primary_key=True),
    sa.Column("at", Moment, nullable=False),
    sa.Column("actor", sa.Text, nullable=False),
    sa.Column("action", sa.Text, nullable=False),
    sa.Column("lead_id", sa.Text),
    sa.Column("reason", sa.Text, nullable=False),
)

sessions = sa.Table(
    "sessions",
    metadata,
    sa.Column("token_sha256", sa.String(64), primary_key=True),
    sa.Column("account_id", sa.ForeignKey("accounts.account_id"), nullable=False),
    sa.Column("csrf_token", sa.Text, nullable=False),
    sa.Column("created_at", Moment, nullable=False),
    sa.Column("expires_at", Moment, nullable=False),
)

login_attempts = sa.Table(
    "login_attempts",
    metadata,
    sa.Column("attempt_id", sa.Text, primary_key=True),
    sa.Column("username_key", sa.Text, nullable=False),
    sa.Column("address", sa.Text, nullable=False),
    sa.Column("at", Moment, nullable=False),
    sa.Column("succeeded", sa.Boolean, nullable=False),
    sa.Index("ix_login_attempts_username_key_at", "username_key", "at"),
)

INSERT_ONLY = (
    captures,
    pulls,
    quarantine,
    observations,
    view_problems,
    gaps,
    reading_spans,
    correlations,
    leads,
    sensor_leads,
    missions,
    flight_files,
    dock_uploads,
    comparisons,
    ground_fixes,
    case_facts,
    joined_leads,
    events,
    confirmations,
    recusals,
    evidence_views,
    outbox,
    deliveries,
    denials,
    login_attempts,
)
