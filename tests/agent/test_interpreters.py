"""The interpreter that a project asks for: the machine's own where it fits, another where uv has one, or one line."""

import sys
from pathlib import Path

import pytest

from infra.node.agent.environment.project.interpreters import as_request, choose_interpreter, satisfies, version_of
from infra.node.agent.environment.uv import DependenciesError

HERE = "{}.{}".format(*sys.version_info)


@pytest.mark.parametrize(
    ("requirement", "met", "unmet"),
    [
        (">=3.9", ["3.9.0", "3.12.4"], ["3.8.19"]),
        (">=3.9,<3.12", ["3.11.9"], ["3.12.0", "3.8.0"]),
        (">=3.9 <3.12", ["3.11.9"], ["3.12.0"]),
        (">3.9, !=3.11.*", ["3.9.1", "3.12.0"], ["3.9.0", "3.11.5"]),
        ("==3.12.*", ["3.12.1"], ["3.11.0"]),
        ("==3.12", ["3.12.0"], ["3.12.1"]),
        ("~=3.10", ["3.10.1", "3.13.0"], ["3.9.0"]),
        ("~=3.10.2", ["3.10.9"], ["3.10.1", "3.11.0"]),
        ("^3.9", ["3.13.0"], ["3.8.0"]),
        ("~3.9", ["3.9.7"], ["3.10.0"]),
        ("<3.9 || >=3.11", ["3.8.1", "3.11.0"], ["3.10.0"]),
        (">=3.12.0rc1", ["3.12.0"], ["3.11.9"]),
        ("3.12", ["3.12.9"], ["3.11.1"]),
        ("3.12.1", ["3.12.1"], ["3.12.2"]),
        ("*", ["3.8.0"], []),
        ("", ["3.8.0"], []),
    ],
)
def test_a_requirement_is_met_or_not(requirement, met, unmet):
    for version in (*met, *unmet):
        assert satisfies(tuple(map(int, version.split("."))), requirement) == (version in met), version


@pytest.mark.parametrize(
    ("requirement", "request_"),
    [
        ("^3.9", ">=3.9,<4"),
        ("~3.9", ">=3.9,<3.10"),
        (">=3.9, <3.12", ">=3.9,<3.12"),
        ("3.12", "3.12"),
        ("<3 || ^3.9.1", ">=3.9.1,<4"),
    ],
)
def test_uv_is_asked_in_its_own_notation(requirement, request_):
    assert as_request(requirement) == request_


@pytest.fixture
def old(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The interpreter of a machine that has only Python 3.6; uv can find the one that runs the tests, and download none."""
    monkeypatch.setenv("UV_OFFLINE", "1")
    monkeypatch.setenv("UV_PYTHON_INSTALL_DIR", str(tmp_path / "pythons"))
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}:{Path(sys.executable).resolve().parent}:/usr/bin:/bin")
    path = tmp_path / "old" / "python"
    path.parent.mkdir()
    path.write_text("#!/bin/sh\necho 3.6.9\n")
    path.chmod(0o755)
    return str(path)


def choose(root: Path, python: str, files: dict[str, str], start: str = ".") -> tuple[str, str]:
    """The interpreter chosen for a project with these files, and the log."""
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    with (root / "log").open("ab") as log:
        found = choose_interpreter(root, root / start, python, log)
    return found, (root / "log").read_text()


@pytest.mark.parametrize(
    "files",
    [
        {"pyproject.toml": f'[project]\nname = "x"\nrequires-python = ">={HERE}"\n'},
        {"pyproject.toml": f'[tool.poetry.dependencies]\npython = "^{HERE}"\n'},
        {"setup.cfg": f"[options]\npython_requires = >={HERE}\n"},
        {"setup.py": f"from setuptools import setup\nsetup(\n    python_requires='>={HERE}',\n)\n"},
        {".python-version": f"# pinned\n{HERE}\n", "pyproject.toml": '[project]\nrequires-python = ">=3.6"\n'},
    ],
)
def test_uv_provides_the_interpreter_that_the_machine_s_own_is_not(tmp_path, old, files):
    found, log = choose(tmp_path, old, files)
    assert version_of(found)[:2] == sys.version_info[:2]
    assert log.startswith(f"gpujob: using Python {HERE}.") and f"{next(iter(files))} asks for" in log, log
    assert log.endswith("and the image has 3.6.9\n")


@pytest.mark.parametrize(
    "files",
    [
        {},
        {"pyproject.toml": f'[project]\nrequires-python = ">={HERE}"\n', ".python-version": HERE},
        {".python-version": "my-pyenv-environment\n"},
        {"pyproject.toml": "[tool.ruff]\n", "setup.py": "print(1)\n"},
        {"outer.py": "", "inner/pyproject.toml": '[project]\nrequires-python = ">=4"\n'},
    ],
)
def test_an_interpreter_that_fits_is_kept_without_a_word(tmp_path, files):
    assert choose(tmp_path, sys.executable, files) == (sys.executable, "")


def test_a_version_that_no_one_has_is_named_in_one_line_with_what_is_there(tmp_path, old):
    with pytest.raises(DependenciesError) as error:
        choose(tmp_path, old, {"inner/pyproject.toml": '[project]\nrequires-python = ">=4.2"\n'}, "inner")
    assert str(error.value).startswith(
        "inner/pyproject.toml requires Python >=4.2, the machine has 3.6.9, and uv could not"
    )
    assert str(error.value).endswith("--python PATH")
    assert "\n" not in str(error.value)


def test_a_pin_that_no_one_has_gives_way_to_what_the_project_allows(tmp_path, old):
    files = {".python-version": "4.2", "pyproject.toml": '[project]\nrequires-python = ">=3.6"\n'}
    found, log = choose(tmp_path, old, files)
    assert (found, log.splitlines()[-1]) == (
        old,
        "gpujob: using Python 3.6.9, which pyproject.toml allows: uv could not provide 4.2 (.python-version)",
    )
