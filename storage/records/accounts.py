"""Accounts, sessions and the throttling of log-ins."""

import hashlib
import secrets
from datetime import datetime, timedelta
from typing import Any, NamedTuple

import sqlalchemy as sa
from argon2 import PasswordHasher
from argon2.exceptions import VerificationError

from enforcement.errors import ConfigurationError, NotPermitted
from enforcement.people import Account, username_key
from storage.records import schema

SESSION_LENGTH = timedelta(hours=10)
"""One working day: nobody stays signed in overnight."""

THROTTLE_WINDOW = timedelta(minutes=15)
THROTTLE_PER_NAME = 5
THROTTLE_PER_ADDRESS = 50
"""Failed log-ins in the window after which further ones are refused unseen."""

PASSWORD_MIN_LENGTH = 12
"""NIST SP 800-63B asks for 8 at least and recommends 15 where it is the only factor."""

_HASHER = PasswordHasher()
_DUMMY_HASH = _HASHER.hash(secrets.token_hex(16))


class Session(NamedTuple):
    account: Account
    csrf_token: str


def add_account(connection: sa.Connection, account: Account, password: str) -> None:
    """Register an account. Raises ConfigurationError if the name is taken or the password short."""
    if len(password) < PASSWORD_MIN_LENGTH:
        raise ConfigurationError(f"a password needs at least {PASSWORD_MIN_LENGTH} characters")
    key = username_key(account.username)
    table = schema.accounts
    if connection.execute(sa.select(table.c.account_id).where(table.c.username_key == key)).first():
        raise ConfigurationError(f"the user name {account.username} is taken")
    row = account.model_dump() | {"username_key": key, "password_hash": _HASHER.hash(password)}
    connection.execute(table.insert().values(row))


def all_accounts(connection: sa.Connection) -> list[Account]:
    """Everybody, by user name."""
    rows = connection.execute(sa.select(schema.accounts).order_by(schema.accounts.c.username_key))
    return [_account(row) for row in rows.mappings()]


def set_active(connection: sa.Connection, username: str, active: bool) -> None:
    """Open or close an account. Raises KeyError if there is none of this name."""
    table = schema.accounts
    done = connection.execute(
        table.update().where(table.c.username_key == username_key(username)).values(active=active)
    )
    if done.rowcount != 1:
        raise KeyError(username)


def check_password(connection: sa.Connection, username: str, password: str) -> Account | None:
    """The account if name and password fit and it is open, else None, in about the same time."""
    table = schema.accounts
    key = username_key(username)
    row = connection.execute(sa.select(table).where(table.c.username_key == key)).mappings().first()
    try:
        _HASHER.verify(row["password_hash"] if row is not None else _DUMMY_HASH, password)
    except VerificationError:
        return None
    return _account(row) if row is not None and row["active"] else None


def require_not_throttled(
    connection: sa.Connection, username: str, address: str, now: datetime
) -> None:
    """Raise NotPermitted after too many failed log-ins for this name or from this address."""
    table = schema.login_attempts
    failed = (
        sa.select(sa.func.count())
        .select_from(table)
        .where(~table.c.succeeded, table.c.at > now - THROTTLE_WINDOW)
    )
    by_name = connection.scalar(failed.where(table.c.username_key == username_key(username)))
    by_address = connection.scalar(failed.where(table.c.address == address))
    if (by_name or 0) >= THROTTLE_PER_NAME or (by_address or 0) >= THROTTLE_PER_ADDRESS:
        raise NotPermitted("too many failed sign-ins; try again in 15 minutes")


def note_attempt(
    connection: sa.Connection, username: str, address: str, succeeded: bool, now: datetime
) -> None:
    """Log a try to sign in."""
    connection.execute(
        schema.login_attempts.insert().values(
            attempt_id=secrets.token_hex(16),
            username_key=username_key(username),
            address=address,
            at=now,
            succeeded=succeeded,
        )
    )


def open_session(connection: sa.Connection, account: Account, now: datetime) -> str:
    """Start a session; returns its token, of which only a hash is kept."""
    token = secrets.token_urlsafe(32)
    connection.execute(
        schema.sessions.insert().values(
            token_sha256=_hashed(token),
            account_id=account.account_id,
            csrf_token=secrets.token_urlsafe(32),
            created_at=now,
            expires_at=now + SESSION_LENGTH,
        )
    )
    return token


def find_session(connection: sa.Connection, token: str, now: datetime) -> Session | None:
    """The session of a token, if it runs and its account is still open."""
    s, a = schema.sessions, schema.accounts
    row = (
        connection.execute(
            sa.select(a, s.c.csrf_token)
            .join(a, a.c.account_id == s.c.account_id)
            .where(s.c.token_sha256 == _hashed(token), s.c.expires_at > now, a.c.active)
        )
        .mappings()
        .first()
    )
    return Session(_account(row), row["csrf_token"]) if row is not None else None


def close_session(connection: sa.Connection, token: str) -> None:
    """End a session; a token without one is no error."""
    table = schema.sessions
    connection.execute(table.delete().where(table.c.token_sha256 == _hashed(token)))


def _hashed(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


def _account(row: Any) -> Account:
    return Account.model_validate({name: row[name] for name in Account.model_fields})
