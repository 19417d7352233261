"""The catalog: what is watched, where, and by which rules. YAML files in one folder.

Every ``*.yaml`` file may hold any of the sections ``sites``, ``devices``, ``feeds``, ``missions``,
``rules`` and ``recipients``; all files together are the catalog, so an own camera is an own file.
Unknown keys are errors, and an error names the file and the place in it.
"""

import contextlib
import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import ValidationError

from enforcement.errors import ConfigurationError
from enforcement.missions import Mission
from enforcement.model import Record
from enforcement.places import (
    Device,
    DroneBucket,
    DroneFolder,
    Feed,
    Hj212Source,
    MqttSource,
    Recipient,
    Site,
)
from enforcement.readings import DockFormat
from enforcement.rules import Rule
from settings import schedules

SHIPPED_CATALOG = Path(__file__).parent / "shipped"
"""What a new catalog starts with: the rules and an inbox for single files."""


class Catalog(Record):
    """The whole catalog, checked against itself."""

    sites: tuple[Site, ...] = ()
    devices: tuple[Device, ...] = ()
    feeds: tuple[Feed, ...] = ()
    missions: tuple[Mission, ...] = ()
    rules: tuple[Rule, ...] = ()
    recipients: tuple[Recipient, ...] = ()

    def feed(self, feed_id: str) -> Feed:
        """Raises ConfigurationError if the catalog has no such feed."""
        return _named(self.feeds, "feed_id", feed_id)

    def site(self, site_id: str) -> Site:
        return _named(self.sites, "site_id", site_id)

    def device(self, device_id: str) -> Device:
        return _named(self.devices, "device_id", device_id)

    def rule(self, rule_id: str, version: int) -> Rule:
        """The rule in exactly this version; raises ConfigurationError without it."""
        for rule in self.rules:
            if rule.rule_id == rule_id and rule.version == version:
                return rule
        raise ConfigurationError(f"the catalog has no rule {rule_id} version {version}")

    def with_missions(self, given: Iterable[Mission]) -> "Catalog":
        """With missions that came otherwise; those of the files come first, and none counts whose
        feed the catalog no longer has."""
        own = {mission.mission_id for mission in self.missions}
        more = [
            one for one in given if one.mission_id not in own and not mission_problems(self, one)
        ]
        return self.model_copy(update={"missions": (*self.missions, *more)})

    @property
    def current_rules(self) -> tuple[Rule, ...]:
        """The highest version of each rule."""
        newest: dict[str, Rule] = {}
        for rule in sorted(self.rules, key=lambda rule: rule.version):
            newest[rule.rule_id] = rule
        return tuple(newest.values())

    def rules_at(self, pins: Mapping[str, int]) -> tuple[Rule, ...]:
        """The current rules, some of them in a version that is named instead.

        Raises ConfigurationError if there is no such version.
        """
        return tuple(
            self.rule(rule.rule_id, pins.get(rule.rule_id, rule.version))
            for rule in self.current_rules
        )

    @property
    def rules_digest(self) -> str:
        """SHA-256 over the current rules: which rules a capture was held against."""
        digests = sorted(rule_digest(rule) for rule in self.current_rules)
        return hashlib.sha256("".join(digests).encode()).hexdigest()


class CatalogFolder:
    """The catalog of a folder, read again whenever one of its files changed. Thread-safe.

    For processes that outlive an edit. While the folder holds a mistake, the last good catalog
    goes on to serve; ``sightline catalog check`` names the mistake.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._seen = self._stamps()
        self._catalog = load_catalog(folder)

    def __call__(self) -> Catalog:
        """The catalog as it stands."""
        stamps = self._stamps()
        if stamps != self._seen:
            with contextlib.suppress(ConfigurationError):
                self._catalog = load_catalog(self._folder)
            self._seen = stamps
        return self._catalog

    def _stamps(self) -> dict[str, tuple[int, int]]:
        found = {}
        for path in self._folder.glob("*.yaml"):
            with contextlib.suppress(FileNotFoundError):
                status = path.stat()
                found[path.name] = (status.st_mtime_ns, status.st_size)
        return found


def rule_digest(rule: Rule) -> str:
    """SHA-256 of a rule as it stands."""
    return hashlib.sha256(rule.model_dump_json().encode()).hexdigest()


def load_catalog(folder: Path) -> Catalog:
    """Read all YAML files of a folder. Raises ConfigurationError that says where it is wrong."""
    if not folder.is_dir():
        raise ConfigurationError(f"there is no catalog folder {folder}; run `sightline init`")
    sections: dict[str, list[Any]] = {name: [] for name in Catalog.model_fields}
    for path in sorted(folder.glob("*.yaml")):
        for name, entries in _read(path).items():
            if name not in sections:
                known = ", ".join(sections)
                raise ConfigurationError(f"{path}: unknown section {name!r}; known are {known}")
            if not isinstance(entries, list):
                raise ConfigurationError(f"{path}: section {name!r} must be a list")
            sections[name] += [_entry(name, entry, path, n) for n, entry in enumerate(entries)]
    catalog = Catalog(**{name: tuple(entries) for name, entries in sections.items()})
    _check_references(catalog, folder)
    return catalog


T = TypeVar("T", bound=Record)

_TYPES: dict[str, type[Record]] = {
    "sites": Site,
    "devices": Device,
    "feeds": Feed,
    "missions": Mission,
    "rules": Rule,
    "recipients": Recipient,
}


def _read(path: Path) -> dict[str, Any]:
    try:
        content = yaml.safe_load(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigurationError(f"{path} cannot be read as YAML: {error}") from error
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise ConfigurationError(f"{path}: expected sections such as `feeds:` at the top")
    return content


def _entry(section: str, entry: object, path: Path, number: int) -> Record:
    try:
        return _TYPES[section].model_validate(entry)
    except ValidationError as error:
        lines = "; ".join(
            f"{'.'.join(str(part) for part in e['loc']) or 'entry'}: {e['msg']}"
            for e in error.errors()
        )
        raise ConfigurationError(f"{path}: {section}[{number}]: {lines}") from error


def _check_references(catalog: Catalog, folder: Path) -> None:
    problems = [
        *_doubles("site", [site.site_id for site in catalog.sites]),
        *_doubles("device", [device.device_id for device in catalog.devices]),
        *_doubles("feed", [feed.feed_id for feed in catalog.feeds]),
        *_doubles("mission", [mission.mission_id for mission in catalog.missions]),
        *_doubles("rule", [f"{rule.rule_id} version {rule.version}" for rule in catalog.rules]),
        *_doubles("recipient", [one.recipient_id for one in catalog.recipients]),
    ]
    problems += _shared_endpoints(catalog.feeds)
    problems += _missing_for_sensors(catalog)
    sites = {site.site_id for site in catalog.sites}
    devices = {device.device_id for device in catalog.devices}
    rules = {rule.rule_id for rule in catalog.rules}
    for feed in catalog.feeds:
        if feed.site_id not in sites:
            problems.append(f"feed {feed.feed_id}: there is no site {feed.site_id}")
        if feed.device_id is not None and feed.device_id not in devices:
            problems.append(f"feed {feed.feed_id}: there is no device {feed.device_id}")
    for mission in catalog.missions:
        problems += mission_problems(catalog, mission)
    for recipient in catalog.recipients:
        for unknown in set(recipient.rules) - rules:
            problems.append(f"recipient {recipient.recipient_id}: there is no rule {unknown}")
    if problems:
        raise ConfigurationError(f"catalog {folder}: " + "; ".join(problems))


def mission_problems(catalog: Catalog, mission: Mission) -> list[str]:
    """What keeps a mission from belonging to this catalog, in words."""
    drones = {
        feed.feed_id for feed in catalog.feeds if isinstance(feed.source, DroneFolder | DroneBucket)
    }
    problems = []
    if mission.feed_id not in drones:
        problems.append(f"mission {mission.mission_id}: {mission.feed_id} is no feed of a drone")
    if mission.schedule is not None and (wrong := schedules.problem(mission.schedule)):
        problems.append(f"mission {mission.mission_id}: schedule {mission.schedule!r}: {wrong}")
    return problems


def _shared_endpoints(feeds: tuple[Feed, ...]) -> list[str]:
    """Live feeds that would take each other's port or session."""
    sources = [(feed.feed_id, feed.source) for feed in feeds if feed.enabled]
    ports = [f"{one.host}:{one.port}" for _, one in sources if isinstance(one, Hj212Source)]
    sessions = [
        f"{one.session_of(feed_id)} at {one.host}:{one.port}"
        for feed_id, one in sources
        if isinstance(one, MqttSource)
    ]
    return [*_doubles("HJ 212 port", ports), *_doubles("MQTT client_id", sessions)]


def _missing_for_sensors(catalog: Catalog) -> list[str]:
    """What feeds of sensors lack: a site's time zone, or the entry of a device."""
    ruled = {rule.purpose for rule in catalog.rules if rule.kind.is_of_sensor}
    clocked = {site.site_id for site in catalog.sites if site.time_zone is not None}
    known = {device.device_id for device in catalog.devices}
    problems = []
    for feed in catalog.feeds:
        if not isinstance(feed.source, MqttSource | Hj212Source):
            continue
        if isinstance(feed.source.format, DockFormat):
            continue
        if feed.site_id not in clocked and ruled.intersection(z.purpose for z in feed.zones):
            problems.append(
                f"feed {feed.feed_id}: site {feed.site_id} has sensor rules, so it needs time_zone"
            )
        unknown = sorted(feed.sensors - known - {feed.device_id})
        problems += [f"feed {feed.feed_id}: there is no device {one}" for one in unknown]
    return problems


def _doubles(kind: str, ids: list[str]) -> list[str]:
    return [f"{kind} {one} is there {n} times" for one, n in Counter(ids).items() if n > 1]


def _named(entries: tuple[T, ...], field: str, wanted: str) -> T:
    for entry in entries:
        if getattr(entry, field) == wanted:
            return entry
    kind = field.removesuffix("_id")
    known = ", ".join(getattr(entry, field) for entry in entries) or "none"
    raise ConfigurationError(f"the catalog has no {kind} {wanted}; it has {known}")
