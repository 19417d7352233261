"""Who acts: people and services, their roles and certificates."""

import unicodedata
from enum import StrEnum
from typing import Self

from pydantic import model_validator

from enforcement.errors import NotPermitted
from enforcement.model import Record, Utc


class Role(StrEnum):
    ANALYST = "analyst"
    """Triages leads."""
    OFFICER = "officer"
    """Confirms candidate cases and answers for them; needs a certificate."""
    SUPERVISOR = "supervisor"
    """Watches over all, revises facts, recalls; confirms nothing."""
    SERVICE = "service"
    """A program. Reads; never judges."""


class Account(Record):
    """One login. Several accounts may belong to one person: what counts is ``person_id``."""

    account_id: str
    username: str
    person_id: str
    """Staff number or the like: the natural person behind the account."""
    display_name: str
    role: Role
    active: bool = True
    certificate_no: str | None = None
    certificate_valid_from: Utc | None = None
    certificate_valid_until: Utc | None = None

    @model_validator(mode="after")
    def _officers_hold_a_certificate(self) -> Self:
        complete = self.certificate_no and self.certificate_valid_from
        if self.role is Role.OFFICER and not (complete and self.certificate_valid_until):
            raise ValueError("an officer needs a certificate number and its validity dates")
        return self

    def require(self, *roles: Role) -> None:
        """Raise NotPermitted unless the account is active and has one of the roles."""
        if not self.active:
            raise NotPermitted("this account is closed")
        if self.role not in roles:
            wanted = " or ".join(roles)
            raise NotPermitted(f"this needs the role {wanted}; you are signed in as {self.role}")

    def require_certificate(self, now: Utc) -> None:
        """Raise NotPermitted unless the officer's certificate covers this moment."""
        start, end = self.certificate_valid_from, self.certificate_valid_until
        if start is None or end is None or not start <= now < end:
            raise NotPermitted("your enforcement certificate is not valid today")


def username_key(username: str) -> str:
    """What makes two user names the same: compatibility forms, case and blanks don't differ."""
    return unicodedata.normalize("NFKC", username).casefold().strip()
