"""The gate inside the database: triggers that refuse what the application must never do.

- Insert-only tables take no UPDATE, no DELETE and no replacement of a row.
- A confirmation needs an active officer with a valid certificate, who neither triaged the lead nor
  recused himself or herself, over the case's current evidence digest.
- A case moves only along ``enforcement.cases.TRANSITIONS``, one version at a time, with its event
  written first; it becomes confirmed only with enough confirmations, dispatched only with an
  outbox row.
- An outbox row needs enough confirmations over the current evidence digest.

Refusals begin with ``gate:`` so that ``storage.records.database`` can tell them from faults.
PostgreSQL adds privileges: see ``storage/records/roles.py``.
"""

from collections.abc import Iterable

import sqlalchemy as sa

from enforcement.cases import TRANSITIONS
from storage.records import schema

_INSERT_ONLY = (
    schema.captures, schema.pulls, schema.quarantine, schema.observations, schema.correlations,
    schema.leads, schema.case_facts, schema.events, schema.confirmations, schema.recusals,
    schema.evidence_views, schema.outbox, schema.deliveries, schema.denials, schema.login_attempts,
)  # fmt: skip
"""The tables of this version; later migrations guard their own."""

_CURRENT_DIGEST = """(SELECT f.digest FROM case_facts f WHERE f.lead_id = {lead}
      ORDER BY f.revision DESC LIMIT 1)"""

_VALID_CONFIRMATIONS = """(SELECT count(DISTINCT c.person_id) FROM confirmations c
      JOIN cases k ON k.lead_id = c.lead_id
      WHERE c.lead_id = {lead} AND c.evidence_digest = {digest} AND c.verdict = 'confirm'
        AND c.attested AND k.triaged_by IS NOT NULL AND c.person_id <> k.triaged_by
        AND c.certificate_valid_from <= c.decided_at
        AND c.decided_at < c.certificate_valid_until)"""

_REQUIRED = """(SELECT f.confirmations_required FROM case_facts f
      WHERE f.lead_id = {lead} ORDER BY f.revision DESC LIMIT 1)"""


def _transition_list() -> str:
    """The allowed transitions as SQL strings: ``'lead>in_triage', …``."""
    pairs = [
        f"'{source}>{target}'"
        for source, targets in TRANSITIONS.items()
        for target in sorted(targets)
    ]
    return ", ".join(pairs)


Conditions = list[tuple[str, str]]
"""What must hold for NEW, in SQL, and what is said when it does not."""


def conditions() -> dict[tuple[str, str], Conditions]:
    """For each (table, action): what must hold for NEW, and what is said when it does not.

    Written in the SQL that SQLite and PostgreSQL share.
    """
    digest = _CURRENT_DIGEST.format(lead="NEW.lead_id")
    required = _REQUIRED.format(lead="NEW.lead_id")
    enough = _VALID_CONFIRMATIONS.format(lead="NEW.lead_id", digest=digest) + f" >= {required}"
    return {
        ("case_facts", "INSERT"): [
            (
                "NEW.revision = 1 + COALESCE((SELECT max(f.revision) FROM case_facts f"
                " WHERE f.lead_id = NEW.lead_id), 0)",
                "facts are revised one at a time",
            ),
            (
                "NOT EXISTS (SELECT 1 FROM outbox o WHERE o.lead_id = NEW.lead_id)",
                "the facts of a dispatched case stay as they are",
            ),
        ],
        ("confirmations", "INSERT"): [
            (
                f"NEW.evidence_digest = {digest}",
                "the confirmation is not over the current evidence",
            ),
            (
                "EXISTS (SELECT 1 FROM cases k WHERE k.lead_id = NEW.lead_id AND k.state IN"
                " ('candidate', 'first_confirmed', 'disputed')"
                " AND k.triaged_by <> NEW.person_id)",
                "the case does not wait for this person's confirmation",
            ),
            (
                "EXISTS (SELECT 1 FROM accounts a WHERE a.account_id = NEW.account_id"
                " AND a.person_id = NEW.person_id AND a.active AND a.role = 'officer'"
                " AND a.certificate_no = NEW.certificate_no"
                " AND a.certificate_valid_from = NEW.certificate_valid_from"
                " AND a.certificate_valid_until = NEW.certificate_valid_until"
                " AND a.certificate_valid_from <= NEW.decided_at"
                " AND NEW.decided_at < a.certificate_valid_until)",
                "only an active officer with a valid certificate confirms",
            ),
            (
                "NOT EXISTS (SELECT 1 FROM recusals r WHERE r.lead_id = NEW.lead_id"
                " AND r.person_id = NEW.person_id)",
                "this officer is recused",
            ),
            ("NEW.verdict <> 'confirm' OR NEW.attested", "the attestations are not complete"),
        ],
        ("cases", "INSERT"): [
            (
                f"NEW.state = 'lead' AND NEW.version = 1 AND NEW.triaged_by IS NULL"
                f" AND NEW.evidence_digest = {digest}",
                "a case begins as a sealed lead",
            ),
        ],
        ("cases", "UPDATE"): [
            (
                "NEW.lead_id = OLD.lead_id AND NEW.version = OLD.version + 1",
                "a case moves one version at a time",
            ),
            (
                f"(OLD.state || '>' || NEW.state) IN ({_transition_list()})",
                "there is no such step",
            ),
            (
                "EXISTS (SELECT 1 FROM events e WHERE e.lead_id = NEW.lead_id"
                " AND e.version = NEW.version AND e.from_state = OLD.state"
                " AND e.to_state = NEW.state)",
                "a step needs its event",
            ),
            (f"NEW.evidence_digest = {digest}", "the case must point to its current facts"),
            (
                "OLD.triaged_by IS NULL OR NEW.triaged_by = OLD.triaged_by",
                "who accepted the lead cannot be changed",
            ),
            (
                f"NEW.state <> 'confirmed' OR ({enough})",
                "too few confirmations over the current evidence",
            ),
            (
                "NEW.state <> 'dispatched' OR EXISTS (SELECT 1 FROM outbox o"
                " WHERE o.lead_id = NEW.lead_id AND o.kind = 'dispatch'"
                " AND o.evidence_digest = NEW.evidence_digest)",
                "dispatched without an outbox row",
            ),
        ],
        ("outbox", "INSERT"): [
            (
                "NEW.kind <> 'recall' OR EXISTS (SELECT 1 FROM outbox o JOIN cases k"
                " ON k.lead_id = o.lead_id WHERE o.lead_id = NEW.lead_id AND o.kind = 'dispatch'"
                " AND o.recipient_id = NEW.recipient_id AND k.state = 'recalled')",
                "only a recalled, dispatched case can be called back",
            ),
            (
                "NEW.kind <> 'dispatch' OR EXISTS (SELECT 1 FROM cases k"
                " WHERE k.lead_id = NEW.lead_id AND k.state = 'confirmed')",
                "the case is not confirmed",
            ),
            (
                f"NEW.kind <> 'dispatch' OR (NEW.evidence_digest = {digest} AND ({enough}))",
                "too few confirmations over the current evidence",
            ),
            (
                "NEW.kind <> 'dispatch' OR EXISTS (SELECT 1 FROM case_facts f"
                " JOIN leads l ON l.lead_id = f.lead_id"
                " WHERE f.lead_id = NEW.lead_id AND f.digest = NEW.evidence_digest"
                " AND f.device_status = 'valid' AND NOT f.seeded AND NOT l.seeded)",
                "the device was not valid, or the lead was planted for quality control",
            ),
        ],
    }


def sqlite_ddl() -> list[str]:
    """The triggers for SQLite."""
    statements = insert_only_sqlite(_INSERT_ONLY)
    statements += [
        "CREATE TRIGGER cases_no_delete BEFORE DELETE ON cases BEGIN"
        " SELECT RAISE(ABORT, 'gate: cases are kept'); END",
        "CREATE TRIGGER cases_no_replace BEFORE INSERT ON cases"
        " WHEN EXISTS (SELECT 1 FROM cases t WHERE t.lead_id = NEW.lead_id) BEGIN"
        " SELECT RAISE(ABORT, 'gate: cases already holds this row'); END",
    ]
    for (name, action), held in conditions().items():
        statements.append(sqlite_gate(name, action, held))
    return statements


def sqlite_gate(name: str, action: str, held: Conditions) -> str:
    """The trigger that refuses an action on a table unless all of this holds."""
    checks = " ".join(
        f"SELECT RAISE(ABORT, 'gate: {text}') WHERE ({condition}) IS NOT TRUE;"
        for condition, text in _quoted(held)
    )
    return (
        f"CREATE TRIGGER {name}_{action.lower()}_gate BEFORE {action} ON {name} BEGIN {checks} END"
    )


def insert_only_sqlite(tables: Iterable[sa.Table]) -> list[str]:
    """Triggers that take no UPDATE, no DELETE and no replacement of a row."""
    statements = []
    for table in tables:
        keys = _unique_keys(table)
        same_row = " OR ".join(
            "(" + " AND ".join(f"t.{name} = NEW.{name}" for name in key) + ")" for key in keys
        )
        statements += [
            f"CREATE TRIGGER {table.name}_no_update BEFORE UPDATE ON {table.name} BEGIN"
            f" SELECT RAISE(ABORT, 'gate: {table.name} is insert-only'); END",
            f"CREATE TRIGGER {table.name}_no_delete BEFORE DELETE ON {table.name} BEGIN"
            f" SELECT RAISE(ABORT, 'gate: {table.name} is insert-only'); END",
            # INSERT OR REPLACE deletes without firing the delete trigger.
            f"CREATE TRIGGER {table.name}_no_replace BEFORE INSERT ON {table.name}"  # noqa: S608
            f" WHEN EXISTS (SELECT 1 FROM {table.name} t WHERE {same_row}) BEGIN"
            f" SELECT RAISE(ABORT, 'gate: {table.name} already holds this row'); END",
        ]
    return statements


def postgresql_ddl() -> list[str]:
    """The trigger functions and triggers for PostgreSQL."""
    statements = [
        """CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN RAISE EXCEPTION USING ERRCODE = 'check_violation',
        MESSAGE = 'gate: ' || TG_TABLE_NAME || ' is insert-only'; END $$"""
    ]
    statements += insert_only_postgresql(_INSERT_ONLY)
    statements.append(
        "CREATE TRIGGER cases_insert_only BEFORE DELETE OR TRUNCATE ON cases"
        " FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()"
    )
    for (name, action), held in conditions().items():
        # Locking the case row makes acts on one case follow each other.
        lock = "" if name == "cases" else locked_case("NEW.lead_id")
        person = _HUMAN_STEP if (name, action) == ("cases", "UPDATE") else ""
        statements += [
            postgresql_gate(name, action, held, f"{lock} {person}"),
            postgresql_trigger(name, action),
        ]
    return statements


def postgresql_gate(name: str, action: str, held: Conditions, first: str) -> str:
    """The function that refuses an action on a table unless all of this holds; ``first``: SQL."""
    checks = "\n".join(
        f"IF ({condition}) IS NOT TRUE THEN RAISE EXCEPTION 'gate: {text}'"
        " USING ERRCODE = 'check_violation'; END IF;"
        for condition, text in _quoted(held)
    )
    return (
        f"CREATE OR REPLACE FUNCTION {name}_{action.lower()}_gate() RETURNS trigger"
        f" LANGUAGE plpgsql AS $$ BEGIN {first} {checks} RETURN NEW; END $$"
    )


def postgresql_trigger(name: str, action: str) -> str:
    """The trigger that calls that function."""
    function = f"{name}_{action.lower()}_gate"
    return (
        f"CREATE TRIGGER {function} BEFORE {action} ON {name}"
        f" FOR EACH ROW EXECUTE FUNCTION {function}()"
    )


def locked_case(lead: str) -> str:
    """SQL that locks a case's row."""
    return f"PERFORM 1 FROM cases k WHERE k.lead_id = {lead} FOR UPDATE;"


def insert_only_postgresql(tables: Iterable[sa.Table]) -> list[str]:
    """Triggers that take no UPDATE, DELETE or TRUNCATE; ``refuse_change`` is there already."""
    return [
        f"CREATE TRIGGER {table.name}_insert_only BEFORE UPDATE OR DELETE OR TRUNCATE"
        f" ON {table.name} FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()"
        for table in tables
    ]


_HUMAN_STEP = """IF NEW.state NOT IN ('dispatched', 'acknowledged')
  AND NOT pg_has_role(current_user, 'sightline_review', 'MEMBER')
THEN RAISE EXCEPTION 'gate: only the review application takes this step'
USING ERRCODE = 'check_violation'; END IF;"""


def _quoted(held: Conditions) -> Conditions:
    return [(condition, text.replace("'", "''")) for condition, text in held]


def _unique_keys(table: sa.Table) -> list[list[str]]:
    keys = [[column.name for column in table.primary_key.columns]]
    keys += [
        [column.name for column in constraint.columns]
        for constraint in table.constraints
        if isinstance(constraint, sa.UniqueConstraint)
    ]
    return keys
