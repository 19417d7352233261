"""Versions of models: which stored observations footage is held against, and leads rest on.

Observations are kept by model, model digest and configuration digest. By itself footage is held
against what today's detectors saw; ``sightline backfill --model`` names other versions.
"""

import itertools
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from enforcement.cases import Lead
from enforcement.errors import ConfigurationError, ModelError
from enforcement.footage import Capture
from enforcement.places import Feed
from enforcement.rules import Rule, find
from pipelines.observe import ModelKey, keys_of, observations_of
from pipelines.wiring import Wiring
from storage.records import captures
from storage.records.captures import StoredVersion

_PIN = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]*)@([0-9a-f]{8,64})(?:/([0-9a-f]{8,64}))?")
_SHOWN = 12
"""Digits of a digest that an error shows: more than a pin needs."""
_TRIED = 64
"""So many combinations of stored versions are tried for one lead, the latest first."""


class ModelPin(NamedTuple):
    """A version of a model, by the first digits of its digests."""

    model: str
    digest: str
    config: str = ""
    """Empty: of several configurations the one that looked last."""

    @classmethod
    def parse(cls, text: str) -> "ModelPin":
        """Of ``NAME@DIGEST`` or ``NAME@DIGEST/CONFIG``. Raises ConfigurationError."""
        found = _PIN.fullmatch(text)
        if found is None:
            raise ConfigurationError(
                f"--model {text}: write NAME@DIGEST or NAME@DIGEST/CONFIG, of each digest at least"
                " its first 8 hexadecimal digits, such as yolov8n-coco@0a1b2c3d"
            )
        return cls(found[1], found[2], found[3] or "")

    def __str__(self) -> str:
        return f"{self.model}@{self.digest}" + (f"/{self.config}" if self.config else "")

    def names(self, key: ModelKey) -> bool:
        """Whether this is a version that it names."""
        model, digest, config = key
        return (
            model == self.model
            and digest.startswith(self.digest)
            and config.startswith(self.config)
        )


@dataclass(frozen=True)
class Held:
    """What each capture of a range is to be held against."""

    keys: Mapping[str, tuple[ModelKey, ...]]
    """By capture id."""
    pinned: frozenset[str]
    """Models that were named."""

    @property
    def versions(self) -> dict[str, int]:
        """The named versions as pins in full, and how many captures are held against each."""
        used = Counter(
            f"{model}@{digest}/{config}"
            for keys in self.keys.values()
            for model, digest, config in keys
            if model in self.pinned
        )
        return dict(sorted(used.items()))


def held_against(
    wiring: Wiring,
    feed: Feed,
    span: tuple[datetime, datetime],
    pins: Sequence[ModelPin],
    rules: Iterable[Rule],
) -> Held:
    """Which observations the captures of ``[start, end)`` are to be held against by these rules.

    Those of the named versions, of other models today's. A capture that a named version has not
    looked at gets today's key if that is the same version: it is to be observed then. Changes
    nothing. Raises ConfigurationError for names that cannot be meant, ModelError if a named version
    is neither stored nor installed.
    """
    named = _by_model(pins)
    with wiring.database.transaction() as connection:
        seen = captures.versions_between(connection, feed.feed_id, *span)
        known = captures.versions_of_feed(connection, feed.feed_id)
    today = {key[0]: key for key in keys_of(wiring.cascade_for(feed))}
    purposes = {zone.purpose for zone in feed.zones}
    asked_for = {model for rule in rules if rule.purpose in purposes for model in rule.models}
    if unknown := sorted(named.keys() - today.keys() - asked_for):
        models = ", ".join(sorted(today.keys() | asked_for)) or "none"
        raise ConfigurationError(
            f"{', '.join(unknown)} does not look at feed {feed.feed_id}; its models are {models}"
        )
    if needed := sorted(asked_for - today.keys() - named.keys()):
        raise ConfigurationError(
            f"the pinned rules rest on {', '.join(needed)}, which no longer looks at feed"
            f" {feed.feed_id}: name a version with --model; there are {_listed(known, needed)}"
        )
    for pin in named.values():
        _check(pin, seen, today.get(pin.model), known)
    return Held(
        {
            capture_id: tuple({**today, **_named_in(stored, named.values(), today)}.values())
            for capture_id, stored in seen.items()
        },
        frozenset(named),
    )


def _by_model(pins: Iterable[ModelPin]) -> dict[str, ModelPin]:
    named: dict[str, ModelPin] = {}
    for pin in pins:
        if named.setdefault(pin.model, pin) != pin:
            raise ConfigurationError(f"two versions of {pin.model} are named: {named[pin.model]}"
                                     f" and {pin}")  # fmt: skip
    return named


def _check(
    pin: ModelPin,
    seen: Mapping[str, Sequence[ModelKey]],
    today: ModelKey | None,
    known: Sequence[StoredVersion],
) -> None:
    """Raises unless one version is meant, and each capture has it or can be looked at."""
    installed = today is not None and pin.names(today)
    stored = {key for keys in seen.values() for key in keys if pin.names(key)}
    meant = {key[1] for key in stored} | ({today[1]} if today is not None and installed else set())
    if len(meant) > 1:
        raise ConfigurationError(f"{pin} may be {' or '.join(sorted(meant))}: give more digits")
    without = sum(not any(pin.names(key) for key in keys) for keys in seen.values())
    if not without or installed:
        return
    here = "it is not installed" if today is None else f"installed is {_shown(today)}"
    raise ModelError(
        f"{pin} has not looked at {without} of {len(seen)} captures of this span, and {here}."
        " Install that version and run this again, or name one of those stored for this feed:"
        f" {_listed(known, [pin.model])}"
    )


def _named_in(
    stored: Sequence[ModelKey], pins: Iterable[ModelPin], today: Mapping[str, ModelKey]
) -> dict[str, ModelKey]:
    """Of each pinned model the version that is named and looked last; else today's, which is it."""
    return {
        pin.model: next((key for key in reversed(stored) if pin.names(key)), None)
        or today[pin.model]
        for pin in pins
    }


def _shown(key: ModelKey) -> str:
    model, digest, config = key
    return f"{model}@{digest[:_SHOWN]}/{config[:_SHOWN]}"


def _listed(known: Iterable[StoredVersion], models: Sequence[str]) -> str:
    lines = [
        f"{_shown(one[:3])} ({one.captures} captures, {one.first_at:%Y-%m-%d %H:%M} to"
        f" {one.last_at:%Y-%m-%d %H:%M})"
        for one in known
        if one.model in models
    ]
    return "; ".join(lines) or "none"


def versions_behind(
    wiring: Wiring, capture: Capture, lead: Lead, likely: Sequence[ModelKey] | None = None
) -> tuple[ModelKey, ...]:
    """The observations that a lead rests on: those with which its rule gives it.

    ``likely`` are tried first; by default what today's detectors saw. A lead may have been raised
    under other versions by a process that ended before it was sealed. What no stored observation
    gives any more, since its rule was changed, is taken to rest on the likely ones. Raises
    ModelError if these are not there.
    """
    feed = wiring.catalog.feed(capture.feed_id)
    if likely is None:
        likely = keys_of(wiring.cascade_for(feed))
    rule = wiring.catalog.rule(lead.rule_id, lead.rule_version)
    if not rule.kind.is_of_footage:
        return tuple(likely)
    with wiring.database.transaction() as connection:
        stored = list(captures.observation_objects(connection, capture.capture_id))
    for keys in itertools.islice(_candidates(likely, stored, rule), _TRIED):
        seen = observations_of(wiring, capture, keys)
        findings = find(rule, feed.zones, seen, view_is_fixed=feed.view_is_fixed)
        if any(
            (one.zone_id, one.box) == (lead.zone_id, lead.box)
            and round(one.alarm_at_s, 3) == round(lead.alarm_at_s, 3)
            for one in findings
        ):
            return keys
    if missing := [key[0] for key in likely if key not in stored]:
        raise ModelError(f"{', '.join(missing)} has not looked at this capture yet: observe first")
    return tuple(likely)


def _candidates(
    likely: Sequence[ModelKey], stored: Sequence[ModelKey], rule: Rule
) -> Iterator[tuple[ModelKey, ...]]:
    """Sets of stored observations, one a model: the likely one, then all that differ in the
    rule's models, the latest first."""
    base = {key[0]: key for key in likely}
    if all(key in stored for key in likely) and base.keys() >= set(rule.models):
        yield tuple(likely)
    choices = [
        [key for key in reversed(stored) if key[0] == model] for model in dict.fromkeys(rule.models)
    ]
    there = {model: key for model, key in base.items() if key in stored}
    for chosen in itertools.product(*choices):
        yield tuple({**there, **{key[0]: key for key in chosen}}.values())
