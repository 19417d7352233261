"""Canonical JSON (RFC 8785) of records, and the SHA-256 that names bytes.

Seal once: the bytes that :func:`canonical_bytes` returned are stored and hashed. A digest is
checked over the stored bytes, never over a record that was parsed and serialised again, because
a later version of a record class may serialise the same facts differently.
"""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar

import rfc8785
from pydantic import ValidationError

from enforcement.errors import EvidenceError
from enforcement.model import Record

R = TypeVar("R", bound=Record)

_LARGEST_EXACT_INT = 2**53 - 1
"""Beyond it a JSON number is a double (RFC 8785, 3.2.2.3, and RFC 7493, 2.2)."""


def canonical_bytes(record: Record) -> bytes:
    """The record as RFC 8785 JSON in UTF-8.

    Raises EvidenceError when the record holds something that has no canonical form: NaN, an
    infinity, an integer beyond 2^53 - 1, a lone surrogate.
    """
    try:
        # By value first: pydantic's own serialiser puts U+FFFD for a lone surrogate in a key.
        for key in _keys(record.model_dump()):
            key.encode("utf-8")
        return rfc8785.dumps(record.model_dump(mode="json"))
    except ValueError as exc:
        raise EvidenceError(f"{type(record).__name__} has no canonical form: {exc}") from exc


def sha256_hex(data: bytes) -> str:
    """SHA-256 in lower-case hexadecimal."""
    return hashlib.sha256(data).hexdigest()


def sha256_file(path: Path) -> str:
    """SHA-256 of a file in lower-case hexadecimal, read piece by piece.

    Raises OSError when the file cannot be read.
    """
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def parse_canonical(cls: type[R], data: bytes) -> R:
    """The record in ``data``, which must be canonical JSON of that class.

    Raises EvidenceError for duplicate keys, NaN and infinities, for any other form than the
    canonical one (so that no two parsers can read different things in the same bytes), and for
    fields that the class does not allow.
    """
    try:
        value = json.loads(
            data.decode("utf-8"),
            object_pairs_hook=_without_duplicates,
            parse_constant=_refuse_constant,
            parse_int=_number,
        )
        if rfc8785.dumps(value) != data:
            raise EvidenceError(f"stored {cls.__name__} is not in canonical form")
        return cls.model_validate(value)
    except ValidationError as exc:
        fields = sorted({".".join(map(str, error["loc"])) for error in exc.errors()})
        raise EvidenceError(f"stored {cls.__name__} does not fit: {', '.join(fields)}") from exc
    except (ValueError, RecursionError) as exc:
        raise EvidenceError(f"stored {cls.__name__} is not canonical JSON: {exc}") from exc


def _keys(value: object) -> Iterator[str]:
    if isinstance(value, dict):
        yield from map(str, value)
        value = tuple(value.values())
    if isinstance(value, (list, tuple)):
        for part in value:
            yield from _keys(part)


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise EvidenceError("stored JSON has the same key twice in one object")
    return result


def _refuse_constant(name: str) -> float:
    raise EvidenceError(f"stored JSON holds {name}, which is not a JSON number")


def _number(digits: str) -> int | float:
    number = int(digits)
    return number if abs(number) <= _LARGEST_EXACT_INT else float(digits)
