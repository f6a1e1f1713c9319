"""Why a path is not part of the upload, and that the advice has it uploaded."""

import re
from pathlib import Path

import pytest

from infra.git.pointers import POINTER_BYTES
from infra.project.exclusion import Exclusion, find_exclusion
from infra.project.files import POINTER, read_project
from tests.project.test_project import git, write


def exclusion(root: Path, name: str) -> Exclusion | None:
    return find_exclusion(read_project(root), root / name)


def follow(root: Path, found: Exclusion) -> None:
    """Do what the advice says, as a person would."""
    file, added = root / "gpujob.toml", re.search(r"\[sync\]: (include = .*)$", found.advice)
    before = file.read_text() if file.exists() else ""
    if added:
        file.write_text(f"{before}\n[sync]\n{added[1]}\n")
    elif more := re.search(r"add (\".*\") to \[sync\] include", found.advice):
        file.write_text(before.replace("include = [", f"include = [{more[1]}, "))
    else:
        file.write_text(f'[sync]\ninclude = ["{found.path}"]\n')


@pytest.fixture(params=["repository", "folder"])
def root(request, tmp_path) -> Path:
    if request.param == "repository":
        git(tmp_path, "init")
    return tmp_path


@pytest.mark.parametrize(
    ("name", "files", "says"),
    [
        ("data/a.csv", {".gitignore": "# data\n*.csv\n"}, ".gitignore line 2 (*.csv)"),
        ("data/a.csv", {"data/.gitignore": "*\n"}, "data/.gitignore line 1 (*)"),
        ("data", {".gitignore": "data/\n"}, ".gitignore line 1 (data/)"),
        ("data", {".gpujobignore": "x\ndata\n"}, ".gpujobignore line 2 (data)"),
        ("data/[1]*!.csv", {".gitignore": "data\n"}, ".gitignore line 1 (data)"),
        ("data/a.csv", {"gpujob.toml": '[sync]\nexclude = ["*.csv"]\n'}, "gpujob.toml [sync] exclude (*.csv)"),
        ("__pycache__/x.pyc", {}, "a cache or an environment"),
        (".venv", {".venv/pyvenv.cfg": ""}, "a cache or an environment"),
        ("data/token.key", {}, "may contain secrets"),
        ("env", {"env/.env": "A=1"}, "may contain secrets"),
    ],
)
def test_the_rule_is_named_and_its_advice_includes_the_path(root, name, files, says):
    write(root, "train.py", name if Path(name).suffix else f"{name}/deep/a.bin")
    for path, content in files.items():
        write(root, path)
        (root / path).write_text(content)
    found = exclusion(root, name)
    assert found is not None
    assert (found.path, found.rule) == (name, says)
    if "exclude" in found.rule:
        (root / "gpujob.toml").write_text(f"{(root / 'gpujob.toml').read_text()}{found.advice.partition(': ')[2]}\n")
    else:
        follow(root, found)
    assert exclusion(root, name if says != "may contain secrets" or "." in name else f"{name}/deep") is None


def test_a_second_path_is_added_to_the_list_that_is_there(root):
    write(root, "a.csv", "b.csv")
    (root / ".gitignore").write_text("*.csv\n")
    for name in ("a.csv", "b.csv"):
        found = exclusion(root, name)
        assert found
        follow(root, found)
    assert exclusion(root, "a.csv") is exclusion(root, "b.csv") is None


def test_what_is_uploaded_or_does_not_exist_has_no_rule(root):
    write(root, "train.py", "data/a.csv", "data/__pycache__/a.pyc")
    (root / "empty").mkdir()
    (root / ".gitignore").write_text("runs/\n")
    assert [exclusion(root, name) for name in ("train.py", "data", ".", "nothing", ".git", "empty")] == [None] * 6


def test_of_a_folder_that_is_uploaded_in_part_the_missing_files_are_counted(root):
    write(root, "data/a.csv", "data/b.csv", "data/labels.txt")
    (root / ".gitignore").write_text("*.csv\nvoid/\n")
    (root / "void").mkdir()
    found, void = exclusion(root, "data"), exclusion(root, "void")
    assert found == Exclusion("data", ".gitignore line 1 (*.csv)", found.advice if found else "", 2)
    assert void
    assert (void.rule, void.left_out) == (".gitignore line 2 (void/)", 0)


def test_a_rule_of_an_inner_repository_and_of_the_user_are_found(tmp_path):
    git(tmp_path, "init")
    write(tmp_path, "inner/a.csv", "b.csv")
    git(tmp_path / "inner", "init")
    (tmp_path / "inner/.gitignore").write_text("*.csv\n")
    (tmp_path / ".git/info/exclude").write_text("b.*\n")
    inner, own = exclusion(tmp_path, "inner/a.csv"), exclusion(tmp_path, "b.csv")
    assert inner
    assert own
    assert (inner.rule, own.rule) == ("inner/.gitignore line 1 (*.csv)", ".git/info/exclude line 1 (b.*)")


def test_a_path_behind_a_link_or_outside_cannot_be_included_as_it_is(tmp_path):
    root, data = tmp_path / "project", tmp_path / "data"
    write(root, "train.py")
    write(data, "a.csv")
    (root / "data").symlink_to(data)
    for name in ("data", "data/a.csv"):
        found = exclusion(root, name)
        assert found
        assert (found.rule, "replace the link" in found.advice) == ("points outside the project", True)
    outside = exclusion(root, "../data/a.csv")
    assert outside == Exclusion(str(data / "a.csv"), "outside the project", "copy it into the project")


def test_git_lfs_pointers_are_named_before_they_travel_for_the_files(root):
    write(root, "train.py", "model.pt", "small.txt")
    (root / ".gitattributes").write_text("*.pt filter=lfs diff=lfs merge=lfs -text\n")
    pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{'ab' * 32}\nsize 99\n"
    (root / "model.pt").write_text(pointer)
    assert [(each.path, each.reason, each.advice) for each in read_project(root).withheld] == [
        ("model.pt", POINTER, "git lfs pull")
    ]
    found = exclusion(root, "model.pt")
    assert found == Exclusion("model.pt", POINTER, "git lfs pull")
    (root / "model.pt").write_bytes(pointer.encode() + b"x" * POINTER_BYTES)
    assert not read_project(root).withheld
