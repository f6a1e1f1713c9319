"""Commands typed in this process, which has loaded them once: ten in the time of one process."""

import os
from contextlib import chdir, redirect_stderr
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from unittest.mock import patch

import pytest
from click.testing import CliRunner

from cli.main import gpujob, print_error
from infra.errors import GpujobError
from tests.conftest import Finished, Laptop


def type_here(*words: str, **variables: str) -> Finished:
    """Run a command to its end, with these variables set; there is no terminal."""
    result = CliRunner().invoke(gpujob, words, env=variables, prog_name="gpujob")
    if isinstance(result.exception, GpujobError):
        with redirect_stderr(StringIO()) as said:
            code = print_error(result.exception)
        return Finished(code, result.stdout, f"{result.stderr}{said.getvalue()}")
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return Finished(result.exit_code, result.stdout, result.stderr)


def move_in(home: Path, monkeypatch: pytest.MonkeyPatch, **variables: str) -> Path:
    """Let this process live in an empty home, with no AWS credentials; return the project folder it is in."""
    for name in os.environ:
        if name.startswith(("AWS_", "GPUJOB_", "XDG_")):
            monkeypatch.delenv(name)
    project = home / "project"
    project.mkdir(parents=True)
    for name, value in {"HOME": str(home), "AWS_EC2_METADATA_DISABLED": "true", **variables}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(project)
    return project


@dataclass(frozen=True)
class Here(Laptop):
    """A laptop whose commands run in this process, except those that are started to be interrupted."""

    def type(self, *words: str, cwd: Path | None = None, timeout_s: float = 120) -> Finished:
        """Run a command to its end."""
        with patch.dict(os.environ, self.environment, clear=True), chdir(cwd or self.project):
            return type_here(*words)
