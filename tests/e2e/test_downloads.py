"""Where downloaded results go: to their own project, never through a link, never over what another job or the user has there."""

import json
import os
import re
import stat
import subprocess
from pathlib import Path

from tests.conftest import Laptop

HOSTILE = r"""
import os, subprocess
canary = os.environ["CANARY"]
os.makedirs("checkpoint/.git/hooks")
for at in ("checkpoint/.git", "model"):
    os.makedirs(f"{at}/objects"); os.makedirs(f"{at}/refs")
    open(f"{at}/HEAD", "w").write("ref: refs/heads/main\n")
    open(f"{at}/config", "w").write(f'[core]\nworktree = .\nfsmonitor = "touch {canary}; echo"\n')
    open(f"{at}/objects/x", "w").write("x"); open(f"{at}/refs/x", "w").write("x")
os.makedirs(".vscode")
for name in (".envrc", ".vscode/tasks.json", "conftest.py"): open(name, "w").write("evil")
os.symlink("/etc", "escape"); os.symlink("checkpoint", "latest"); os.mkfifo("pipe")
open("loose", "w").write("x"); os.chmod("loose", 0o6777)
open("evil\x1b]0;x\x07", "w").write("x")
with open("sparse", "wb") as file: file.truncate(64 << 20); file.seek(0, 2); file.write(b"end")
open("model.pt", "w").write("weights")
"""


def job_number(said: str) -> int:
    return int(re.search(r"job (\d+) on", said).group(1))


def test_what_a_hostile_job_leaves_is_downloaded_harmlessly_and_told(project):
    canary = project.project / "canary"
    project.write("train.py", HOSTILE)
    run = project.type("run", "--env", f"CANARY={canary}", "train.py")
    assert run.code == 0, run.said
    assert "Traceback" not in run.said
    assert "\x1b" not in run.err
    home = project.project / f"runs/shared-{job_number(run.err)}"
    files = home / "files"
    assert (files / "model.pt").read_text() == "weights"
    for name in (".envrc.from-node", ".vscode.from-node/tasks.json", "conftest.py.from-node", "evil%1B]0;x%07"):
        assert (files / name).is_file(), name
    assert "'.envrc' was saved as '.envrc.from-node'" in run.err
    assert "'checkpoint/.git' was not downloaded (4 files)" in run.err
    assert "'escape' was not downloaded (1 file)" in run.err
    assert stat.S_IMODE((files / "loose").stat().st_mode) & 0o7022 == 0
    sparse = (files / "sparse").stat()
    assert (sparse.st_size, sparse.st_blocks < 1 << 12) == ((64 << 20) + 3, True)
    for folder in (files, files / "checkpoint", files / "model"):
        trust = ["-c", "safe.directory=*", "-c", "safe.bareRepository=all"]
        subprocess.run(["git", *trust, "-C", str(folder), "status"], capture_output=True, check=False)
    assert not canary.exists()
    receipt = json.loads((home / "receipt.json").read_text())
    assert {each["path"]: each["files"] for each in receipt["withheld"]} == {"checkpoint/.git": 4, "escape": 1}


def numbers(project: Laptop) -> set[int]:
    """Return the numbers of all jobs; some may be another test's and still run."""
    return {job["number"] for job in json.loads(project.type("jobs", "--json").out)}


def test_a_linked_runs_folder_is_refused_before_anything_is_submitted(project, tmp_path_factory):
    outside = tmp_path_factory.mktemp("plugins")
    before = numbers(project)
    (project.project / "runs").symlink_to(outside)
    for words in (["run", "--", "true"], ["notebook"]):
        refused = project.type(*words)
        assert (refused.code, "is a symbolic link" in refused.err) == (1, True), refused.said
        assert f"remove only the link: rm {project.project / 'runs'}; then rerun" in refused.err
    assert numbers(project) == before
    assert list(outside.iterdir()) == []


def test_results_go_to_the_project_that_a_job_was_submitted_from_though_down_is_typed_in_another(laptop):
    assert laptop.type("up", "shared", "--dry-run").code == 0
    other = Laptop(laptop.home, laptop.home.parent / "other")
    other.project.mkdir()
    for where, name in ((laptop, "ours"), (other, "theirs"), (other, "lost")):
        where.write("train.py", f"open('{name}', 'w').write('x')")
        assert where.type("run", "--cluster", "shared", "--detach", "train.py").code == 0
    assert laptop.type("wait", "3").code == 0
    fetch = laptop.type("fetch", "2")
    assert fetch.code == 0, fetch.said
    assert (other.project / "runs/shared-2/files/theirs").exists()
    assert str(other.project / "runs/shared-2/files") in fetch.err
    assert json.loads(laptop.type("receipt", "2", "--json").out)["job"]["number"] == 2
    # What the node says of the project is not taken for a path; what this laptop wrote down is.
    (laptop.home / ".local/state/gpujob/submissions/shared/3.json").unlink()
    down = laptop.type("down", "shared")
    assert down.code == 0, down.said
    assert (laptop.project / "runs/shared-1/files/ours").exists()
    assert (laptop.project / "runs/shared-3/files/lost").exists()
    assert "job 3 was submitted from another computer or an unknown project" in down.err
    assert not (laptop.project / "runs/shared-2").exists()
    assert not (laptop.home / ".local/state/gpujob/submissions/shared").exists()


def node_files(laptop: Laptop, number: int, name: str) -> list[Path]:
    """A job's output on the node, wherever the agent keeps its working folder."""
    [agent] = laptop.home.glob(".local/state/gpujob/local/hosts/*/home/.gpujob")
    return [path for path in agent.rglob(name) if str(number) in path.parts]


def test_a_verified_result_is_replaced_by_request_only(project):
    project.write("train.py", "open('model', 'w').write('real')")
    number = job_number(project.type("run", "train.py").err)
    home = project.project / f"runs/shared-{number}"
    [model] = node_files(project, number, "model")
    model.write_text("fake")
    log = (home / "job.log").read_bytes()
    fetch = project.type("fetch", str(number))
    assert fetch.code == 0, fetch.said
    assert ((home / "files/model").read_text(), (home / "files/model.from-node").read_text()) == ("real", "fake")
    assert "'model' was saved as 'model.from-node': the verified local copy was kept" in fetch.err
    assert (home / "job.log").read_bytes() == log
    assert project.type("fetch", str(number), "--overwrite").code == 0
    assert (home / "files/model").read_text() == "fake"


# Answers a submission with the number of a job before.
OLD_NUMBER = """
import sys
from dataclasses import replace
sys.path.insert(0, {repository!r})
from infra.node import client
submit = client.submit
client.submit = lambda *words: replace(submit(*words), job={number})
from cli.main import main
main()
"""


def test_an_agent_that_answers_with_an_old_number_changes_no_results(project):
    project.write("train.py", "open('model', 'w').write('real')")
    number = job_number(project.type("run", "train.py").err)
    home = project.project / f"runs/shared-{number}"
    before = {str(path): path.stat().st_mtime_ns for path in home.rglob("*")}
    project.write("train.py", "open('model', 'w').write('fake')")
    script = OLD_NUMBER.format(repository=str(Path(__file__).parents[2]), number=number)
    run = subprocess.run(
        [os.sys.executable, "-c", script, "run", "train.py"],
        cwd=project.project,
        env=project.environment,
        capture_output=True,
        check=False,
        timeout=120,
    )
    assert (run.returncode, f"the node numbered this job {number}".encode() in run.stderr) == (1, True), run.stderr
    assert {str(path): path.stat().st_mtime_ns for path in home.rglob("*")} == before
