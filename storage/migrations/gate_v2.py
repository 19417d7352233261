"""The gate with incidents: the package of a further lead may join a case that is not decided.

- A joined lead has no case of its own, and none but a case that is open takes it; neither of them
  was planted.
- Facts that change leave no case confirmed.
- A case that waits for triage moves to its own state only because evidence joined.
- In PostgreSQL the pipeline may move a case back for this, and changes nothing else about it.
"""

from enforcement.cases import JOINABLE
from storage.migrations import gate_v1
from storage.migrations.gate_v1 import Conditions

_JOINED = """EXISTS (SELECT 1 FROM joined_leads j WHERE j.case_id = NEW.lead_id
      AND j.facts_revision = NEW.facts_revision AND NEW.facts_revision = OLD.facts_revision + 1)"""

_MACHINE_STEP = f"""IF NEW.state NOT IN ('dispatched', 'acknowledged')
  AND NOT pg_has_role(current_user, 'sightline_review', 'MEMBER')
  AND NOT ({_JOINED}
    AND NEW.state = CASE WHEN OLD.state IN ('lead', 'in_triage') THEN OLD.state
      ELSE 'candidate' END
    AND NEW.claimed_by IS NOT DISTINCT FROM OLD.claimed_by
    AND NEW.lease_until IS NOT DISTINCT FROM OLD.lease_until
    AND NEW.triaged_by IS NOT DISTINCT FROM OLD.triaged_by)
THEN RAISE EXCEPTION 'gate: only the review application takes this step'
USING ERRCODE = 'check_violation'; END IF;"""


def _conditions() -> dict[tuple[str, str], Conditions]:
    """What this version holds instead of the first, or besides it."""
    before = gate_v1.conditions()
    states = ", ".join(f"'{state}'" for state in sorted(JOINABLE))
    return {
        ("cases", "INSERT"): [
            *before["cases", "INSERT"],
            (
                "NOT EXISTS (SELECT 1 FROM joined_leads j WHERE j.lead_id = NEW.lead_id)",
                "this lead is part of another case",
            ),
        ],
        ("cases", "UPDATE"): [
            *before["cases", "UPDATE"],
            (
                "NEW.facts_revision = OLD.facts_revision"
                " OR NEW.state IN ('lead', 'in_triage', 'candidate')",
                "facts that change void what was confirmed",
            ),
            (
                f"NOT (OLD.state = 'lead' AND NEW.state = 'lead') OR {_JOINED}",
                "there is no such step",
            ),
        ],
        ("joined_leads", "INSERT"): [
            (
                "NOT EXISTS (SELECT 1 FROM cases k WHERE k.lead_id = NEW.lead_id)",
                "this lead has a case of its own",
            ),
            (
                "EXISTS (SELECT 1 FROM cases k WHERE k.lead_id = NEW.case_id"  # noqa: S608
                f" AND k.state IN ({states})"
                " AND NEW.facts_revision = k.facts_revision + 1)",
                "this case takes no further evidence",
            ),
            (
                "NEW.facts_revision = (SELECT max(f.revision) FROM case_facts f"
                " WHERE f.lead_id = NEW.case_id)",
                "the facts must name the evidence that joins",
            ),
            (
                "NOT EXISTS (SELECT 1 FROM leads l WHERE l.seeded"
                " AND l.lead_id IN (NEW.lead_id, NEW.case_id))",
                "a lead that was planted for quality control joins nothing",
            ),
        ],
    }


def sqlite_ddl() -> list[str]:
    """The triggers for SQLite, in place of those of the first version."""
    statements = [f"DROP TRIGGER cases_{action}_gate" for action in ("insert", "update")]
    for (name, action), held in _conditions().items():
        statements.append(gate_v1.sqlite_gate(name, action, held))
    return statements


def postgresql_ddl() -> list[str]:
    """The functions for PostgreSQL, in place of those of the first version, and a new trigger."""
    first = {
        ("cases", "INSERT"): "",
        ("cases", "UPDATE"): _MACHINE_STEP,
        ("joined_leads", "INSERT"): gate_v1.locked_case("NEW.case_id"),
    }
    statements = [
        gate_v1.postgresql_gate(name, action, held, first[name, action])
        for (name, action), held in _conditions().items()
    ]
    return [*statements, gate_v1.postgresql_trigger("joined_leads", "INSERT")]
