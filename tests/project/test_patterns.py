"""Rules of .gitignore outside of a repository: git's own answer, and ours where git is not installed, are those of git in one."""

import os
import subprocess
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from infra.errors import ProjectError
from infra.git import command, patterns
from infra.git.listing import list_folder, list_repository, list_without_git
from infra.git.repository import open_repository

EXAMPLES = int(os.environ.get("GPUJOB_TEST_EXAMPLES", "40"))
MANY = settings(max_examples=EXAMPLES, suppress_health_check=list(HealthCheck))

WILD = [
    "*",
    "**",
    "*/",
    "/*",
    "/**",
    "**/*",
    "*\n!.gitignore",
    "*\n!*/\n!*.py",
    "!",
    "data\\\\",
    "\ufeff*",
    "[[:alpha:]]*",
]
SIMPLE = ["a", "*.b", "/a", "a/", "!a", "!*.b", "d/**/a", "**/c", "!d/a", "d/*", "!d/", "#x", "\\#x", "c ", "?"]
SETS = ["[ab]", "[!a]", "[^a]", "[a-c]", "[]a]", "[\\]]", "[[:space:]]", "[[:punct:]]", "[[:nonsense:]]", "[a"]
PIECE = st.one_of(st.sampled_from([*"abd/*?!# \\\t.-^[]/", "x.b", "\u00e4", "**"]), st.sampled_from(SETS))
LINE = st.one_of(st.sampled_from(WILD), st.sampled_from(SIMPLE), st.lists(PIECE, max_size=7).map("".join))
LINES = st.builds(
    lambda bom, lines, end: (bom + end.join(lines)).encode(),
    st.sampled_from(["", "", "", "\ufeff"]),
    st.lists(LINE, max_size=5),
    st.sampled_from(["\n", "\n", "\r\n"]),
)
PART = st.sampled_from(
    ["a", "b", "c", "c ", "d", "x.b", "#x", "!a", "\u00e4", "a b", "data", "k.py", "-", "]", "a\\b", "^"]
)
PATHS = st.sets(st.lists(PART, min_size=1, max_size=4).map("/".join), min_size=1, max_size=9)
NESTED = st.dictionaries(st.sampled_from(["", "d", "a", "d/a", "data"]), LINES, max_size=3)


def make_folder(folder: Path, names: set[str], ignore_files: dict[str, bytes]) -> None:
    """Make files of these names, as far as none of them must be a folder, and .gitignore files."""
    for name in sorted(names):
        if not any(other.startswith(f"{name}/") for other in names):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(name)
    for place, content in ignore_files.items():
        if (folder / place).is_dir():
            (folder / place / ".gitignore").write_bytes(content)


@MANY
@given(names=PATHS, ignore_files=NESTED, empty=PATHS)
def test_outside_a_repository_the_same_files_are_listed_as_inside_one_with_git_and_without(
    tmp_path_factory, names, ignore_files, empty
):
    folder = tmp_path_factory.mktemp("rules")
    make_folder(folder, names, ignore_files)
    for name in empty:
        if not any((folder / name).is_relative_to(path) for path in folder.rglob("*") if path.is_file()):
            (folder / name).mkdir(parents=True, exist_ok=True)
    by_git, by_us = list_folder(folder, skip), list_without_git(folder)
    subprocess.run(["git", "init", "-q", folder], check=True)
    inside = list_repository(open_repository(folder), skip)
    assert set(by_git.files) == set(by_us.files) == set(inside.files)
    assert by_git.folders == by_us.folders == inside.folders


@MANY
@given(patterns_of=LINES, files=PATHS, folders=PATHS)
def test_a_list_of_patterns_matches_the_same_names_with_git_and_without(patterns_of, files, folders):
    folders = {name for name in folders if not any(f"{name}/".startswith(f"{file}/") for file in files)}
    files = {name for name in files if not any(f"{folder}/".startswith(f"{name}/") for folder in folders)}
    by_git = command.match(patterns_of, files, folders)
    parsed = patterns.parse(patterns_of)
    by_us = {name for name in files if patterns.lies_ignored(name, False, parsed)}
    by_us |= {name for name in folders if patterns.lies_ignored(name, True, parsed)}
    assert by_us == by_git


@pytest.mark.parametrize("installed", [True, False])
@pytest.mark.parametrize(
    ("lines", "stays"),
    [
        ("*", "data/customers.csv"),
        ("**/*", "data/customers.csv"),
        ("/**", "data/customers.csv"),
        ("*\n!.gitignore\n", "data/customers.csv"),
        ("\ufeffcustomers.csv\r\n", "data/customers.csv"),
        ("[[:alpha:]]*", "data/customers.csv"),
        ("data\\", ""),
        ("!", ""),
    ],
)
def test_what_an_ignore_file_in_a_folder_names_is_not_uploaded(tmp_path, monkeypatch, lines, stays, installed):
    from infra.project.files import read_project

    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "customers.csv").write_text("x")
    (tmp_path / "data" / ".gitignore").write_text(lines)
    if not installed:
        monkeypatch.setenv("PATH", str(tmp_path))
    assert ("data/customers.csv" not in {file.path for file in read_project(tmp_path).files}) == bool(stays)


@pytest.mark.parametrize("installed", [True, False])
def test_an_ignore_file_that_is_a_link_is_refused_since_git_would_not_read_it(tmp_path, monkeypatch, installed):
    (tmp_path / "rules").write_text("*.csv\n")
    (tmp_path / "project").mkdir()
    (tmp_path / "project" / ".gitignore").symlink_to("../rules")
    if not installed:
        monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ProjectError, match=r"\.gitignore"):
        from infra.project.files import read_project

        read_project(tmp_path / "project")


def test_a_folder_that_is_removed_while_the_project_is_listed_is_passed_over(tmp_path):
    for name in ("gone", "kept"):
        (tmp_path / name).mkdir()

    def remove(folder: Path) -> bool:
        if folder.name == "gone":
            folder.rmdir()
        return False

    assert list_folder(tmp_path, remove).folders == {"kept"}


def skip(folder: Path) -> bool:
    return False
