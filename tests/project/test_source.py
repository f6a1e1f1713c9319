"""Which code a job ran: the commit, the patch from it to what was uploaded, and the record of the rest."""

import hashlib
import os
import random
import shutil
import subprocess
from pathlib import Path

import pytest

from infra.project.files import Project, read_project
from infra.run.source import Source, read_source

LARGE = os.urandom(2 << 20)


@pytest.fixture(autouse=True)
def cache(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))


def git(folder: Path, *words: str) -> str:
    return subprocess.run(
        ["git", "-c", "user.name=n", "-c", "user.email=e", "-c", "protocol.file.allow=always", "-C", folder, *words],
        check=True,
        capture_output=True,
        text=True,
    ).stdout


def write(folder: Path, files: dict[str, str | bytes]) -> None:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content.encode() if isinstance(content, str) else content)


def commit(folder: Path, files: dict[str, str | bytes]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    git(folder, "init", "-q")
    write(folder, files)
    git(folder, "add", "--all")
    git(folder, "commit", "-qm", "first")
    return folder


def what_ran(project: Project) -> dict[str, object]:
    """Every file that is uploaded: its mode and content, or where it leads."""
    return {
        file.path: file.link or (file.mode & 0o100, (project.root / file.path).read_bytes()) for file in project.files
    }


def apply(folder: Path, source: Source, place: Path) -> dict[str, object]:
    """What a clone at the commit holds once the patch is applied to it, by a git that has no configuration."""
    git(folder.parent, "clone", "-q", "--no-checkout", str(folder), str(place))
    git(place, "checkout", "-q", source.commit)
    if source.patch:
        subprocess.run(
            ["git", "apply", "-"],
            input=source.patch,
            cwd=place,
            env={"PATH": os.environ["PATH"], "HOME": str(place)},
            check=True,
        )
    shutil.rmtree(place / ".git")
    return what_ran(read_project(place))


HERE = {"a.py": "one\ntwo\n", "deep/b.py": "b\n", "gone.py": "gone\n", "tool.sh": "echo\n", "data.bin": b"\0\1\2" * 99}


def change_everything(folder: Path) -> None:
    write(folder, {"a.py": "one\n2\n", "data.bin": b"\0\3" * 50, "new/c.py": "c\n", 'n\u00e4 me\t"x".txt': "odd\n"})
    write(folder, {"dos.txt": "a\r\nb\r\n", "empty": "", "no-newline": "x", "blob": bytes(range(256))})
    (folder / "gone.py").unlink()
    (folder / "tool.sh").chmod(0o755)
    (folder / "link").symlink_to("deep/b.py")


CONFIGURATIONS = [
    {},
    {"diff.external": "false"},
    {"color.ui": "always", "color.diff": "always"},
    {"diff.noprefix": "true"},
    {"diff.mnemonicPrefix": "true"},
    {"core.quotePath": "false"},
    {"core.pager": "false", "pager.diff": "true"},
    {"diff.renames": "copies", "diff.algorithm": "histogram", "diff.context": "0", "diff.interHunkContext": "9"},
    {"diff.submodule": "log", "status.showUntrackedFiles": "no", "diff.ignoreSubmodules": "all"},
    {"core.fileMode": "false", "core.ignoreStat": "true", "diff.wordRegex": ".", "diff.orderFile": "/dev/null"},
    {"core.abbrev": "4", "diff.relative": "true", "diff.srcPrefix": "x/", "diff.dstPrefix": "y/"},
]


@pytest.mark.parametrize("configuration", CONFIGURATIONS, ids=lambda c: ",".join(c) or "none")
def test_the_patch_applies_under_any_configuration_and_makes_the_commit_what_ran(tmp_path, monkeypatch, configuration):
    folder = commit(tmp_path / "project", HERE)
    change_everything(folder)
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    for name, value in configuration.items():
        git(folder, "config", "--global", name, value)
        git(folder, "config", name, value)
    project = read_project(folder)
    source = read_source(project)
    assert source.facts["changed"]
    assert source.record == {}
    assert apply(folder, source, tmp_path / "clone") == what_ran(project)


def test_code_that_is_the_commit_s_needs_no_patch(tmp_path):
    folder = commit(tmp_path / "project", HERE)
    (folder / "a.py").touch()
    assert read_source(read_project(folder)).facts == {
        "commit": git(folder, "rev-parse", "HEAD").strip(),
        "changed": False,
        "changes_sha256": "",
        "record_sha256": "",
    }


@pytest.mark.parametrize("flag", ["--assume-unchanged", "--skip-worktree"])
def test_a_change_that_git_was_told_to_overlook_is_in_the_patch(tmp_path, flag):
    folder = commit(tmp_path / "project", HERE)
    git(folder, "update-index", flag, "a.py")
    write(folder, {"a.py": "other\n"})
    project = read_project(folder)
    source = read_source(project)
    assert source.facts["changed"]
    assert apply(folder, source, tmp_path / "clone") == what_ran(project)


def test_what_is_staged_and_changed_again_is_recorded_as_it_ran(tmp_path):
    folder = commit(tmp_path / "project", HERE)
    write(folder, {"a.py": "staged\n", "new.py": "staged\n"})
    git(folder, "add", "--all")
    write(folder, {"a.py": "ran\n", "new.py": "ran\n"})
    project = read_project(folder)
    assert apply(folder, read_source(project), tmp_path / "clone") == what_ran(project)


def test_large_files_are_listed_with_their_hashes_instead(tmp_path):
    folder = commit(tmp_path / "project", {**HERE, "model.pt": b"\0" * (2 << 20)})
    write(folder, {"model.pt": LARGE, "new.bin": LARGE, "small.py": "x\n"})
    source = read_source(read_project(folder))
    entry = {"sha256": hashlib.sha256(LARGE).hexdigest(), "size_bytes": len(LARGE), "reason": "large"}
    assert source.record["files"] == [{"path": "model.pt", **entry}, {"path": "new.bin", **entry}]
    assert b"small.py" in source.patch
    assert len(source.patch) < 1000


def test_a_patch_stays_below_five_megabytes_however_much_has_changed(tmp_path):
    chance = random.Random(1)
    before = {f"{number:02}.bin": chance.randbytes(900_000) for number in range(8)}
    folder = commit(tmp_path / "project", {**HERE, **before})
    write(folder, {name: chance.randbytes(900_000) for name in before})
    source = read_source(read_project(folder))
    left_out = [each["path"] for each in source.record["files"] if each["reason"] == "large"]
    assert 1_000_000 < len(source.patch) < 5_000_000
    assert 0 < len(left_out) < len(before)
    assert all(name.encode() in source.patch for name in before.keys() - {*left_out})


def test_what_of_the_commit_was_not_uploaded_is_listed_and_no_secret_is_in_any_record(tmp_path):
    folder = commit(tmp_path / "project", {**HERE, ".env": "TOKEN=old\n", "notes/x.md": "x\n", "id_rsa": "old key\n"})
    write(folder, {".env": "TOKEN=new\n", "sub/.env": "TOKEN=included\n"})
    (folder / "id_rsa").unlink()
    write(folder, {".gpujobignore": "notes/\n", "gpujob.toml": '[sync]\ninclude = ["sub/.env"]\n'})
    source = read_source(read_project(folder))
    assert source.record["not_uploaded"] == [".env", "id_rsa", "notes/x.md"]
    assert source.record["files"] == [{"path": "sub/.env", "size_bytes": 15, "reason": "may contain secrets"}]
    assert b"TOKEN" not in source.patch
    assert b"key" not in source.patch
    assert b"gpujob.toml" in source.patch


def test_changes_in_submodules_and_repositories_inside_are_in_the_patch_with_the_commits_they_start_from(tmp_path):
    library = commit(tmp_path / "library", {"lib.py": "lib\n"})
    folder = commit(tmp_path / "project", HERE)
    git(folder, "submodule", "--quiet", "add", str(library), "sub/lib")
    git(folder, "commit", "-qm", "second")
    assert read_source(read_project(folder)).facts["changed"] is False
    write(folder, {"sub/lib/lib.py": "changed\n", "sub/lib/new.py": "new\n"})
    inner = commit(folder / "vendor/inner", {"x.py": "x\n"})
    write(inner, {"x.py": "y\n"})
    project = read_project(folder)
    source = read_source(project)
    head = git(inner, "rev-parse", "HEAD").strip()
    assert source.record["repositories"] == [{"path": "vendor/inner", "commit": head}]
    place = tmp_path / "clone"
    git(tmp_path, "clone", "-q", "--recurse-submodules", str(folder), str(place))
    git(place, "clone", "-q", str(inner), "vendor/inner")
    subprocess.run(["git", "apply", "-"], input=source.patch, cwd=place, check=True)
    assert what_ran(read_project(place)) == what_ran(project)


def test_a_submodule_at_another_commit_or_not_checked_out_is_not_the_commit_s_code(tmp_path):
    library = commit(tmp_path / "library", {"lib.py": "lib\n"})
    folder = commit(tmp_path / "project", HERE)
    git(folder, "submodule", "--quiet", "add", str(library), "lib")
    git(folder, "commit", "-qm", "second")
    write(folder, {"lib/lib.py": "newer\n"})
    git(folder / "lib", "commit", "-qam", "newer")
    source = read_source(read_project(folder))
    assert source.facts["changed"]
    assert source.record["repositories"] == [
        {"path": "lib", "commit": git(folder / "lib", "rev-parse", "HEAD").strip()}
    ]
    git(tmp_path, "clone", "-q", str(folder), str(tmp_path / "clone"))
    bare = read_source(read_project(tmp_path / "clone"))
    assert bare.facts["changed"]
    assert bare.record["not_uploaded"] == ["lib"]


@pytest.mark.parametrize("setting", ["core.autocrlf", "text=auto"])
def test_line_ends_that_git_itself_would_convert_are_no_change(tmp_path, setting):
    folder = commit(tmp_path / "project", {"a.py": "one\ntwo\n", "b.py": "b\n"})
    if setting == "core.autocrlf":
        git(folder, "config", "core.autocrlf", "true")
    else:
        write(folder, {".gitattributes": "* text=auto eol=crlf\n"})
        git(folder, "add", ".")
        git(folder, "commit", "-qm", "attributes")
    write(folder, {"a.py": "one\r\ntwo\r\n"})
    assert read_source(read_project(folder)).facts["changed"] is False
    write(folder, {"b.py": "changed\r\n"})
    assert b"b.py" in read_source(read_project(folder)).patch


def test_a_file_in_large_file_storage_is_the_commit_s_when_its_pointer_says_so(tmp_path):
    sha256 = hashlib.sha256(LARGE).hexdigest()
    pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{sha256}\nsize {len(LARGE)}\n"
    folder = commit(tmp_path / "project", {"model.pt": pointer, "a.py": "a\n"})
    write(folder, {".gitattributes": "*.pt filter=lfs diff=lfs merge=lfs -text\n"})
    git(folder, "-c", "filter.lfs.clean=cat", "add", ".")
    git(folder, "commit", "-qm", "attributes")
    write(folder, {"model.pt": LARGE})
    assert read_source(read_project(folder)).facts["changed"] is False
    write(folder, {"model.pt": LARGE + b"x"})
    assert [file["reason"] for file in read_source(read_project(folder)).record["files"]] == ["filtered by a program"]


def test_each_file_in_large_file_storage_is_compared_with_its_own_pointer(tmp_path):
    contents = {f"{name}.pt": name.encode() * 2000 for name in "abc"}
    pointers = {
        name: f"version https://git-lfs.github.com/spec/v1\noid sha256:{hashlib.sha256(content).hexdigest()}\nsize 1\n"
        for name, content in contents.items()
    }
    attributes = {".gitattributes": "[attr]big filter=lfs -text\n*.pt big\n"}
    folder = commit(tmp_path / "project", {**attributes, **pointers, "sub/small.py": "x\n"})
    write(folder, {**contents, "b.pt": b"other", "sub/small.py": "y\n"})
    source = read_source(read_project(folder))
    assert [(file["path"], file["reason"]) for file in source.record["files"]] == [("b.pt", "filtered by a program")]
    assert b"sub/small.py" in source.patch
    assert b".pt" not in source.patch


def test_a_link_is_in_the_patch_though_its_name_has_a_filter_which_git_would_not_run(tmp_path):
    folder = commit(tmp_path / "project", {".gitattributes": "*.pt filter=lfs\n", "a.bin": "a\n"})
    (folder / "model.pt").symlink_to("a.bin")
    project = read_project(folder)
    assert apply(folder, read_source(project), tmp_path / "clone") == what_ran(project)


def test_a_submodule_that_has_become_a_folder_of_the_project_is_in_the_patch(tmp_path):
    library = commit(tmp_path / "library", {"lib.py": "lib\n"})
    folder = commit(tmp_path / "project", HERE)
    git(folder, "submodule", "--quiet", "add", str(library), "lib")
    git(folder, "commit", "-qm", "second")
    git(folder, "rm", "-q", "--cached", "lib")
    (folder / "lib/.git").unlink()
    write(folder, {"lib/lib.py": "own\n"})
    source = read_source(read_project(folder))
    assert b"deleted file mode 160000" in source.patch
    assert b"b/lib/lib.py" in source.patch


def test_a_file_from_the_beginning_of_time_and_one_with_a_very_long_path_are_in_the_patch(tmp_path):
    folder = commit(tmp_path / "project", HERE)
    deep = "/".join(["d" * 200] * 3) + "/x.py"
    write(folder, {"old.py": "old\n", "none": "", deep: "deep\n"})
    for name in ("old.py", "none", deep):
        os.utime(folder / name, (0, 0))
    project = read_project(folder)
    assert apply(folder, read_source(project), tmp_path / "clone") == what_ran(project)


def test_a_commit_whose_objects_are_missing_is_not_claimed_to_be_what_ran(tmp_path):
    folder = commit(tmp_path / "project", HERE)
    tree = git(folder, "rev-parse", "HEAD^{tree}").strip()
    (folder / ".git/objects" / tree[:2] / tree[2:]).unlink()
    source = read_source(read_project(folder))
    assert source.facts["changed"]
    assert {file["reason"] for file in source.record["files"]} == {"could not be compared"}


def test_a_repository_with_other_hashes_is_compared_like_any(tmp_path):
    folder = tmp_path / "project"
    folder.mkdir()
    git(folder, "init", "-q", "--object-format=sha256")
    commit(folder, HERE)
    assert read_source(read_project(folder)).facts["changed"] is False
    change_everything(folder)
    project = read_project(folder)
    assert apply(folder, read_source(project), tmp_path / "clone") == what_ran(project)


def test_a_file_that_has_become_a_folder_and_the_other_way_round(tmp_path):
    folder = commit(tmp_path / "project", {"a": "file\n", "b/c": "c\n", "b/d": "d\n"})
    (folder / "a").unlink()
    shutil.rmtree(folder / "b")
    write(folder, {"a/x": "x\n", "b": "file\n"})
    project = read_project(folder)
    assert project.withheld == ()
    assert apply(folder, read_source(project), tmp_path / "clone") == what_ran(project)


def test_a_worktree_is_compared_with_its_own_commit(tmp_path):
    folder = commit(tmp_path / "project", HERE)
    git(folder, "worktree", "add", "-q", str(tmp_path / "worktree"))
    write(folder, {"a.py": "later\n"})
    git(folder, "commit", "-qam", "later")
    source = read_source(read_project(tmp_path / "worktree"))
    assert (source.facts["changed"], source.commit) == (False, git(folder, "rev-parse", "HEAD~").strip())
