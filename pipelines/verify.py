"""Verify: re-hash what is stored against what was recorded."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass

from enforcement.errors import EvidenceError
from enforcement.evidence import Manifest
from enforcement.footage import StoredObject
from pipelines.wiring import Wiring
from storage.canonical import parse_canonical
from storage.records import captures, casebook, incidents


@dataclass(frozen=True)
class VerificationReport:
    """What was looked at, and each object that is not what the records say."""

    captures: int
    cases: int
    objects: int
    damaged: tuple[str, ...]

    def as_json(self) -> dict[str, object]:
        return asdict(self)


def verify_all(wiring: Wiring) -> VerificationReport:
    """Read and hash every capture, manifest and evidence item once."""
    with wiring.database.transaction() as connection:
        filed = [capture.object for capture in captures.all_captures(connection)]
        cases = [lead.lead_id for lead, _ in casebook.queue(connection, limit=10**9)]
        facts = {lead_id: casebook.current_facts(connection, lead_id) for lead_id in cases}
        joined = incidents.joined_leads(connection)
    seen: set[StoredObject] = set()
    damaged = [
        f"case {one.case_id}: its facts lack the package of lead {one.lead_id}"
        for one in joined
        if one.manifest not in facts[one.case_id].further
    ]
    manifests = [one for case in facts.values() for one in case.manifests]
    manifests += [one.manifest for one in joined]
    for stored in [*filed, *_packages(wiring, manifests, damaged)]:
        if stored in seen:
            continue
        seen.add(stored)
        try:
            wiring.store.verify(stored)
        except EvidenceError as error:
            damaged.append(f"{stored.bucket}/{stored.key}: {error}")
    return VerificationReport(len(filed), len(cases), len(seen), tuple(damaged))


def _packages(
    wiring: Wiring, manifests: list[StoredObject], damaged: list[str]
) -> Iterator[StoredObject]:
    for stored in manifests:
        yield stored
        try:
            manifest = parse_canonical(Manifest, wiring.store.read(stored))
        except EvidenceError as error:
            damaged.append(f"{stored.bucket}/{stored.key}: {error}")
            continue
        yield from (item.object for item in manifest.items)
