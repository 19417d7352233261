"""The languages of the interface: gettext catalogs, read once when the process starts.

The message ids are the English texts, so English needs no catalog entries of its own.
"""

import re
from collections.abc import Mapping
from functools import cache
from gettext import NullTranslations
from io import BytesIO
from pathlib import Path

from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po
from babel.support import Translations

CATALOGS = Path(__file__).parent / "i18n"

LANGUAGES = {"en": "English", "zh-Hans": "简体中文"}
"""Tag (BCP 47) and the language's own name, in the order of the switch."""

_FILES = {"en": "en.po", "zh-Hans": "zh_Hans.po"}


@cache
def translations(tag: str) -> NullTranslations:
    """The catalog of a language; texts it lacks appear in English."""
    compiled = BytesIO()
    with (CATALOGS / _FILES[tag]).open("rb") as source:
        write_mo(compiled, read_po(source, locale=tag.replace("-", "_")))
    compiled.seek(0)
    return Translations(compiled)


def choose(cookie: str | None, accept: str | None) -> str:
    """The language of a request: what was chosen before, else what the browser asks for."""
    if cookie in LANGUAGES:
        return cookie
    for tag in _accepted(accept or ""):
        if tag.startswith("zh"):
            return "zh-Hans"
        if tag.startswith("en"):
            return "en"
    return "en"


def _accepted(header: str) -> list[str]:
    """Language tags of an Accept-Language header, most wanted first."""
    weighted: list[tuple[float, int, str]] = []
    for part in header.split(",")[:20]:
        tag, _, parameter = part.strip().partition(";")
        try:
            weight = float(parameter.strip().removeprefix("q=")) if parameter else 1.0
        except ValueError:
            continue
        weighted.append((-weight, len(weighted), tag.strip().lower()))
    return [tag for _, _, tag in sorted(weighted)]


def retold(tag: str, text: str, labels: Mapping[str, str]) -> str:
    """A sentence that another room wrote in English, in this language.

    One with values in it is found by its pattern: the catalog's entry has ``{placeholders}``.
    ``labels`` are English names of values (``officer`` → ``Officer``), translated as well.
    """
    if tag == "en" or not text:
        return text
    catalog = translations(tag)
    whole = catalog.gettext(text)
    if whole != text:
        return whole
    for template, pattern in _patterns(tag):
        if found := pattern.fullmatch(text):
            values = {
                name: "、".join(catalog.gettext(labels.get(one, one)) for one in _listed(value))
                for name, value in found.groupdict().items()
            }
            return catalog.gettext(template).format(**values)
    return text


def _listed(value: str) -> list[str]:
    """``analyst or officer`` as its parts; a long text is one part."""
    return re.split(" (?:and|or) ", value) if len(value) < 80 else [value]


@cache
def _patterns(tag: str) -> list[tuple[str, re.Pattern[str]]]:
    with (CATALOGS / _FILES[tag]).open("rb") as source:
        templates = [str(message.id) for message in read_po(source) if "{" in str(message.id)]
    return [(template, _pattern(template)) for template in templates]


def _pattern(template: str) -> re.Pattern[str]:
    parts = re.split(r"\{(\w+)\}", template)
    pattern = "".join(
        f"(?P<{part}>.+?)" if index % 2 else re.escape(part) for index, part in enumerate(parts)
    )
    return re.compile(pattern)
