"""Secrets by the name of an environment variable: its value, or what stands in the file it names.

Docker and Kubernetes mount secrets as files: for the secret ``GATE_PASSWORD``, the variable
``GATE_PASSWORD_FILE`` says where. Such a file is read whenever the secret is asked for, so that a
process which runs for months learns a new password without a restart.
"""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from enforcement.errors import ConfigurationError

_FILE = "_FILE"


class Secrets(Mapping[str, str]):
    """The environment, with secrets from files. A variable that is set itself comes first."""

    def __init__(self, environ: Mapping[str, str] = os.environ) -> None:
        self._environ = environ

    def __getitem__(self, name: str) -> str:
        """Raises KeyError if neither is set, ConfigurationError if the file cannot be read."""
        if name in self._environ:
            return self._environ[name]
        path = self._environ[name + _FILE]
        try:
            return Path(path).read_text("utf-8").rstrip("\r\n")
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigurationError(f"{name}{_FILE} names a file that cannot be read") from error

    def __iter__(self) -> Iterator[str]:
        return iter({*self._environ, *(n.removesuffix(_FILE) for n in self._environ)})

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __contains__(self, name: object) -> bool:
        return name in self._environ or f"{name}{_FILE}" in self._environ
