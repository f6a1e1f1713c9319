"""Somebody else's project: its git runs no program here, and it gets no file of this computer to upload but its own."""

import hashlib
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

from infra.errors import ProjectError
from infra.git import command
from infra.project.files import LINK, find_root, read_file, read_project
from infra.project.hashes import Hashes
from infra.run.source import read_source
from infra.ssh.carry import ChangedError
from tests.conftest import Laptop

STRANGER = 65534  # nobody
HOOKS = (
    "post-index-change",
    "post-checkout",
    "pre-commit",
    "pre-auto-gc",
    "reference-transaction",
    "fsmonitor-watchman",
)


@pytest.fixture(autouse=True)
def private_cache(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))


class Trap:
    """A program that leaves a mark when it is run, and a repository's configuration that names it in every way there is."""

    def __init__(self, folder: Path) -> None:
        self.mark = folder / "executed"
        self.program = folder / "program"
        folder.mkdir()
        self.program.write_text(f'#!/bin/sh\necho "$0 $*" >> "{self.mark}"\ncat 2>/dev/null\nexit 0\n')
        self.program.chmod(0o755)

    @property
    def sprung(self) -> str:
        """What was run, a line for each time."""
        return self.mark.read_text() if self.mark.exists() else ""

    def settings(self) -> dict[str, str]:
        program = str(self.program)
        return {
            **{"core.fsmonitor": program, "core.hooksPath": str(self.program.parent / "hooks")},
            **{f"filter.trap.{kind}": program for kind in ("clean", "smudge", "process")},
            **{"filter.trap.required": "true", "merge.trap.driver": program},
            **{"diff.external": program, "diff.trap.command": program, "diff.trap.textconv": program},
            **{
                "core.pager": program,
                "pager.ls-files": program,
                "pager.diff": program,
                "interactive.diffFilter": program,
            },
            **{
                "core.editor": program,
                "core.sshCommand": program,
                "core.askPass": program,
                "credential.helper": program,
            },
            **{"gpg.program": program, "core.alternateRefsCommand": program, "uploadpack.packObjectsHook": program},
            **{f"alias.{name}": f"!{program}" for name in ("ls-files", "diff", "status", "rev-parse", "check-ignore")},
            **{"protocol.ext.allow": "always", "protocol.allow": "always", "remote.origin.url": f"ext::{program} x"},
            **{"remote.origin.promisor": "true", "remote.origin.fetch": "+refs/heads/*:refs/remotes/origin/*"},
        }

    def set(self, repository: Path) -> None:
        """Set it in a repository, bare or not."""
        inner = repository / ".git" if (repository / ".git").is_dir() else repository
        hooks = self.program.parent / "hooks"
        for folder in (hooks, inner / "hooks"):
            folder.mkdir(exist_ok=True)
            for name in HOOKS:
                shutil.copy2(self.program, folder / name)
        for name, value in self.settings().items():
            git(repository, "config", "--file", str(inner / "config"), name, value)
        (inner / "info").mkdir(exist_ok=True)
        (inner / "info" / "attributes").write_text("* filter=trap diff=trap merge=trap\n")


def git(folder: Path, *words: str) -> str:
    command = ["git", "-c", "user.name=n", "-c", "user.email=e", "-c", "protocol.file.allow=always", *words]
    return subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True).stdout


def commit(folder: Path, name: str = "a.py") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    git(folder, "init", "-q")
    (folder / name).write_text("first\n")
    (folder / ".gitattributes").write_text("* filter=trap diff=trap merge=trap\n")
    git(folder, "add", "--all")
    git(folder, "commit", "-qm", "first")
    (folder / name).write_text("changed\n")
    return folder


@pytest.fixture
def trap(tmp_path: Path) -> Trap:
    return Trap(tmp_path / "trap")


def use(folder: Path) -> set[str]:
    """Do with a project all that gpujob does with git; return the paths that would be uploaded."""
    find_root(folder)
    project = read_project(folder)
    read_source(project)
    return {file.path for file in project.files}


def test_a_project_s_own_configuration_runs_nothing(tmp_path, trap):
    project = commit(tmp_path / "project")
    (project / "new.py").write_text("new\n")
    trap.set(project)
    assert use(project) == {"a.py", "new.py", ".gitattributes"}
    assert trap.sprung == ""
    subprocess.run(["git", "diff", "HEAD"], cwd=project, capture_output=True, check=False)
    assert trap.sprung, "the trap works: git alone runs it"


def test_configuration_that_is_included_or_of_the_worktree_runs_nothing(tmp_path, trap):
    project = commit(tmp_path / "project")
    more = commit(tmp_path / "more")
    trap.set(more)
    shutil.copy(more / ".git/config", project / "settings")
    git(project, "config", "include.path", "../settings")
    git(project, "config", "extensions.worktreeConfig", "true")
    shutil.copy(more / ".git/config", project / ".git/config.worktree")
    use(project)
    assert trap.sprung == ""


def test_repositories_inside_run_nothing(tmp_path, trap):
    library = commit(tmp_path / "library", "lib.py")
    project = commit(tmp_path / "project")
    git(project, "submodule", "--quiet", "add", str(library), "lib")
    (project / "lib/lib.py").write_text("changed\n")
    trap.set(commit(project / "vendor/untracked", "x.py"))
    trap.set(project / ".git/modules/lib")
    trap.mark.unlink(missing_ok=True)
    assert use(project) >= {"a.py", "lib/lib.py", "vendor/untracked/x.py"}
    shutil.rmtree(project / ".git")
    assert use(project) >= {"a.py", "vendor/untracked/x.py"}
    assert trap.sprung == ""


@pytest.mark.parametrize("tracked", [True, False])
@pytest.mark.parametrize("place", [".", "evil.git"])
def test_a_bare_repository_among_the_files_runs_nothing(tmp_path, trap, tracked, place):
    project = commit(tmp_path / "project")
    git(project, "init", "-q", "--bare", "evil.git")
    trap.set(project / "evil.git")
    git(project, "config", "--file", "evil.git/config", "core.worktree", str(tmp_path))
    if tracked:
        git(project, "add", "--all")
    assert "evil.git/config" in use(project / place)
    assert trap.sprung == ""


def test_a_repository_elsewhere_in_the_files_that_a_git_file_names_runs_nothing(tmp_path, trap):
    project = commit(tmp_path / "project")
    trap.set(project)
    (project / ".git").rename(project / "metadata")
    (project / ".git").write_text("gitdir: metadata\n")
    assert "a.py" in use(project)
    assert trap.sprung == ""


def test_what_a_partial_clone_lacks_is_not_fetched(tmp_path, trap):
    project = commit(tmp_path / "project")
    tree = git(project, "rev-parse", "HEAD^{tree}").strip()
    (project / ".git/objects" / tree[:2] / tree[2:]).unlink()
    trap.set(project)
    git(project, "config", "core.repositoryFormatVersion", "1")
    git(project, "config", "extensions.partialClone", "origin")
    assert read_source(read_project(project)).facts["changed"]
    assert trap.sprung == ""


def test_variables_of_git_and_a_git_in_the_project_are_passed_over(tmp_path, trap, monkeypatch):
    project = commit(tmp_path / "project")
    shutil.copy2(trap.program, project / "git")
    monkeypatch.chdir(project)
    monkeypatch.setenv("PATH", f".{os.pathsep}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("GIT_EXTERNAL_DIFF", str(trap.program))
    monkeypatch.setenv("GIT_SSH_COMMAND", str(trap.program))
    monkeypatch.setenv("GIT_PAGER", str(trap.program))
    monkeypatch.setenv("GIT_CONFIG_COUNT", "1")
    monkeypatch.setenv("GIT_CONFIG_KEY_0", "core.fsmonitor")
    monkeypatch.setenv("GIT_CONFIG_VALUE_0", str(trap.program))
    monkeypatch.setenv("GIT_EXEC_PATH", str(trap.program.parent))
    assert use(project) == {"a.py", ".gitattributes", "git"}
    assert trap.sprung == ""


def test_a_repository_in_downloaded_results_is_never_looked_into(tmp_path, trap):
    project = commit(tmp_path / "project")
    results = project / "runs" / "gp-1"
    trap.set(commit(results / "files/inner", "x.py"))
    trap.set(commit(results, "y.py"))
    (results / "receipt.json").write_text("{}")
    trap.mark.unlink(missing_ok=True)
    assert use(project) == {"a.py", ".gitattributes"}
    assert trap.sprung == ""


def test_a_repository_cannot_say_that_its_files_lie_elsewhere(tmp_path):
    secrets = tmp_path / "elsewhere"
    secrets.mkdir()
    (secrets / "private.txt").write_text("private\n")
    project = commit(tmp_path / "project")
    inner = commit(project / "inner")
    for folder in (project, inner):
        git(folder, "config", "core.worktree", str(secrets))
    assert find_root(project / "inner") == inner
    assert use(project) == {"a.py", ".gitattributes", "inner/a.py", "inner/.gitattributes"}
    assert use(inner) == {"a.py", ".gitattributes"}


def test_git_looks_for_no_repository_above_the_folder_that_it_is_meant_for(tmp_path):
    inner = commit(tmp_path / "project") / "inner"
    inner.mkdir()
    assert command.git(inner.parent, "rev-parse", "--git-dir").returncode == 0
    assert command.git(inner, "rev-parse", "--git-dir").returncode != 0


def test_a_branch_that_leads_out_of_the_repository_gives_no_commit(tmp_path):
    project = commit(tmp_path / "project")
    (tmp_path / "private").write_text("private\n")
    for name in ("../../../private", "refs/../../../private", "refs/heads/\0", str(tmp_path / "private")):
        (project / ".git/HEAD").write_text(f"ref: refs/{name}\n")
        assert read_source(read_project(project)).facts == {}


def test_names_that_would_write_to_the_terminal_are_quoted(tmp_path):
    project = commit(tmp_path / "project")
    name = "a\x1b]0;title\x07"
    (project / name).write_text("x")
    with pytest.raises(ProjectError) as caught:
        read_file(project, name, Broken(project))
    assert "\x1b" not in caught.value.what
    assert "\x1b" not in ChangedError(name).what


class Broken(Hashes):
    """Hashes of files that cannot be read."""

    def hash_of(self, name: str, info: os.stat_result) -> str:
        raise PermissionError(13, "Permission denied")


@pytest.mark.parametrize("name", [b"../private.txt", b"b/../../private", b"/etc/passwd__x", b".git/config__"])
def test_an_index_cannot_name_files_outside(tmp_path, name):
    project = commit(tmp_path / "project")
    (tmp_path / "private.txt").write_text("private\n")
    harmless = b"x" * len(name)
    (project / os.fsdecode(harmless)).write_text("x\n")
    git(project, "add", os.fsdecode(harmless))
    index = (project / ".git/index").read_bytes()[:-20].replace(harmless, name)
    (project / ".git/index").write_bytes(index + hashlib.sha1(index).digest())
    (project / os.fsdecode(harmless)).unlink()
    try:
        assert use(project) == {"a.py", ".gitattributes"}
    except ProjectError as error:
        assert "index" in str(error)


def test_links_that_lead_out_are_named_and_none_is_followed(tmp_path):
    project = commit(tmp_path / "project")
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "hosts.yml").write_text("oauth_token: x\n")
    (project / "notes.txt").symlink_to(outside / "hosts.yml")
    (project / "config").symlink_to("../outside")
    (project / "chain").symlink_to("config/hosts.yml")
    (project / "gpujob.toml").write_text(
        '[sync]\ninclude = ["notes.txt", "config/", "config/hosts.yml", "config/**"]\n'
    )
    git(project, "add", "--all")
    assert use(project) == {"a.py", ".gitattributes", "gpujob.toml"}
    assert {each.path for each in read_project(project).withheld if each.reason == LINK} == {
        "notes.txt",
        "config",
        "chain",
    }


def test_folders_that_only_look_like_repositories_end_no_walk_in_a_circle(tmp_path):
    project = commit(tmp_path / "project")
    for name, content in (("empty", None), ("text", "hello"), ("broken", "gitdir: nowhere"), ("up", "gitdir: ../.git")):
        (project / name).mkdir()
        (project / name / "x.py").write_text("x\n")
        if content is None:
            (project / name / ".git").mkdir()
        else:
            (project / name / ".git").write_text(content)
    assert {"a.py", "empty/x.py", "text/x.py", "up/x.py"} <= use(project)


def as_stranger(do: Callable[[], object]) -> str:
    """Return what a function says in a process that is not root's, since root may read everything."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            if os.getuid() == 0:
                os.setgroups([])
                os.setgid(STRANGER)
                os.setuid(STRANGER)
            os.write(writing, repr(do()).encode())
        except BaseException as error:
            os.write(writing, repr(error).encode())
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as said:
        text = said.read().decode()
    os.waitpid(child, 0)
    return text


@pytest.mark.parametrize(("repository", "installed"), [(True, True), (False, True), (False, False)])
def test_a_folder_that_cannot_be_read_is_refused_by_name(monkeypatch, repository, installed):
    with tempfile.TemporaryDirectory() as place:  # pytest's own folders are root's alone
        project = Path(place).resolve() / "project"
        monkeypatch.setenv("HOME", place + "/home")
        (project / "data" / "shut").mkdir(parents=True)
        (project / "data" / "shut" / "x.csv").write_text("x\n")
        if repository:
            git(project, "init", "-q")
        if os.getuid() == 0:
            subprocess.run(["chown", "-R", str(STRANGER), place], check=True)
        (project / "data" / "shut").chmod(0)
        if not installed:
            monkeypatch.setenv("PATH", place)
        said = as_stranger(lambda: read_project(project))
        (project / "data" / "shut").chmod(0o700)
        assert said.startswith("ProjectError")
        assert "data/shut" in said
        assert "x.csv" in as_stranger(lambda: read_project(project))


def test_no_command_runs_anything_of_a_hostile_project(project: Laptop, trap):
    folder = commit(project.project / "theirs")
    (folder / "a.py").write_text("open('made.txt', 'w').write('x')\n")
    trap.set(folder)
    trap.set(commit(folder / "inner", "x.py"))
    git(folder, "init", "-q", "--bare", "evil.git")
    trap.set(folder / "evil.git")
    trap.mark.unlink(missing_ok=True)
    run = project.type("run", "a.py", cwd=folder)
    assert run.code == 0, run.said
    for words in (["ls"], ["jobs"], ["fetch"], ["receipt"], ["up", "--plan", "--dry-run"], ["ssh-config"]):
        project.type(*words, cwd=folder)
    for cwd in (folder / "evil.git", folder / "inner"):
        project.type("jobs", cwd=cwd)
    assert trap.sprung == ""
    [receipt] = [json.loads(path.read_text()) for path in folder.glob("runs/*/receipt.json")]
    assert receipt["job"]["source"]["changed"]
