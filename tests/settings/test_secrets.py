"""Secrets come from variables, or from the files that variables name."""

from pathlib import Path

import pytest

from enforcement.errors import ConfigurationError
from settings.secrets import Secrets


def test_a_variable_comes_before_a_file_and_a_file_is_read_anew(tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text("first\n")
    secrets = Secrets({"GATE_FILE": str(file), "YARD": "plain", "YARD_FILE": str(file)})
    assert (secrets["GATE"], secrets["YARD"]) == ("first", "plain")
    file.write_text("second")
    assert secrets["GATE"] == "second"
    assert "GATE" in secrets
    assert "LANE" not in secrets
    with pytest.raises(KeyError):
        secrets["LANE"]
    assert {"GATE", "YARD"} <= set(secrets)


def test_a_file_that_is_not_there_is_named_by_its_variable(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="GATE_FILE"):
        Secrets({"GATE_FILE": str(tmp_path / "none")})["GATE"]
