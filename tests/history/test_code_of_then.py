"""The code of a run, had again from its commit and its patch, or refused."""

import hashlib
import subprocess

import pytest

from infra.errors import ProjectError
from infra.history.runs import read_run
from infra.history.sources import check_out
from infra.project.files import read_project
from tests.here import move_in
from tests.history.past import record
from tests.history.test_diff import commit, git, record_code


@pytest.fixture
def project(tmp_path, monkeypatch):
    folder = move_in(tmp_path, monkeypatch)
    (folder / ".gitignore").write_text("runs\n")
    (folder / "train.py").write_text("1\n")
    return folder


def refusal(project, home):
    with pytest.raises(ProjectError) as refused, check_out(project, read_run(home), "."):
        pass
    return refused.value.what


def test_the_code_is_the_same_to_the_byte_and_nothing_stays_behind(project, tmp_path):
    (project / "gone.py").write_text("gone\n")
    (project / "run.sh").write_text("#!/bin/sh\n")
    commit(project)
    (project / "train.py").write_text("2\r\n")
    (project / "gone.py").unlink()
    (project / "run.sh").chmod(0o755)
    (project / "new.bin").write_bytes(bytes(range(256)))
    (project / "link").symlink_to("train.py")
    then = read_project(project)
    home = record_code(project, 1)
    (project / "train.py").write_text("3\n")
    (project / "new.bin").unlink()
    caches = sorted((tmp_path / ".cache").rglob("*"))
    with check_out(project, read_run(home), ".") as copy:
        assert copy.snapshot == then.snapshot
        assert (copy.runs, copy.root != project) == (project / "runs", True)
    assert not copy.root.exists()
    assert sorted((tmp_path / ".cache").rglob("*")) == caches


def test_a_file_that_is_neither_in_the_commit_nor_in_the_patch_is_named(project):
    commit(project)
    (project / "big.bin").write_bytes(b"x" * 2_000_000)
    assert "'big.bin' of run project-1 is neither in its commit nor in its changes.patch" in refusal(
        project, record_code(project, 1)
    )


def test_a_file_whose_content_a_filter_keeps_elsewhere_is_named(project):
    (project / ".gitattributes").write_text("*.pt filter=lfs\n")
    (project / "model.pt").write_text("pointer\n")
    commit(project)
    head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=project, capture_output=True, text=True, check=True)
    home = record(project, 1, source={"commit": head.stdout.strip()})
    assert "does not have the content of 'model.pt'" in refusal(project, home)


def test_a_submodule_is_named(project):
    commit(project)
    head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=project, capture_output=True, text=True, check=True)
    git(project, "update-index", "--add", "--cacheinfo", f"160000,{head.stdout.strip()},lib")
    git(project, "commit", "-qm", "submodule")
    head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=project, capture_output=True, text=True, check=True)
    assert "'lib' is a submodule" in refusal(project, record(project, 1, source={"commit": head.stdout.strip()}))


def test_a_working_folder_outside_the_code_is_refused(project):
    commit(project)
    home = record_code(project, 1)
    for folder in ("..", "/tmp", "missing"):
        with pytest.raises(ProjectError, match="has no folder"), check_out(project, read_run(home), folder):
            pass


def test_a_patch_that_leads_out_of_the_project_is_refused(project):
    commit(project)
    (project / "train.py").write_text("2\n")
    home = record_code(project, 1)
    evil = b"diff --git a/../../evil b/../../evil\nnew file mode 100644\n--- /dev/null\n+++ b/../../evil\n@@ -0,0 +1 @@\n+x\n"
    (home / "changes.patch").write_bytes(evil)
    receipt = (home / "receipt.json").read_text()
    sha256 = read_run(home).job.source["changes_sha256"]
    (home / "receipt.json").write_text(receipt.replace(sha256, hashlib.sha256(evil).hexdigest()))
    assert "its changes do not apply to commit" in refusal(project, home)
    assert not list(project.parent.rglob("evil"))
