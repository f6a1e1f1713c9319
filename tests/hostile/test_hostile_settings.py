"""A gpujob.toml that came with somebody else's project: it ends nothing, and takes nothing from this computer unasked."""

import json
import os
import pty
import subprocess
from pathlib import Path

import pytest

from infra.ledger import known_clusters
from infra.model import Cluster, Gpu, Node
from infra.project import consents
from tests.conftest import COMMAND, Finished, Laptop
from tests.here import move_in, type_here

WANTS = '[run]\nsecret = ["GITHUB_TOKEN"]\nenv-file = "../private.env"\n'


def test_a_plain_down_in_its_folder_ends_nothing(rented, tmp_path):
    (tmp_path / "gpujob.toml").write_text("[down]\nall = true\nforce = true\nyes = true\n")
    down = Laptop(rented.home, tmp_path, {}).type("down")
    assert down.code == 2, down.said
    assert "gpujob.toml: [down] all: --all is accepted only on the command line" in down.err
    listed = json.loads(rented.type("ls", "--dry-run", "--json").out)
    assert [one["nodes"][0]["state"] for one in listed if one["name"] == "shared"] == ["running"]


@pytest.fixture
def project(tmp_path, monkeypatch) -> Path:
    """A project folder with a cluster that is remembered and does not answer."""
    folder = move_in(tmp_path, monkeypatch, GITHUB_TOKEN="ghp-mine")
    (tmp_path / "private.env").write_text("PASSWORD=mine\n")
    node = Node("i-1", "running", "127.0.0.1", 9, "g4dn.xlarge", "us-east-1a")
    known_clusters.remember(
        Cluster("project", "local", "us-east-1", (node,), Gpu("T4"), 0.5, 2e9, 1.0, "arn:aws:iam::1:user/me")
    )
    return folder


def test_variables_of_this_computer_are_not_handed_over_where_nobody_can_be_asked(project):
    (project / "gpujob.toml").write_text(WANTS)
    for words in (["run", "--", "true"], ["run", "--yes", "--", "true"]):
        refused = type_here(*words)
        assert refused.code == 2, refused.said
        assert "gpujob.toml passes the variable GITHUB_TOKEN, the variables in /" in refused.err
        assert f"adding: --secret GITHUB_TOKEN --env-file {project.parent}/private.env\n" in refused.err


def test_what_is_typed_or_only_set_in_the_file_needs_no_question(project):
    (project / "gpujob.toml").write_text('[run]\nsecret = ["GITHUB_TOKEN"]\nenv = ["SEED=1"]\n')
    assert "needs confirmation" not in type_here("run", "--secret", "GITHUB_TOKEN", "--", "true").err
    (project / "gpujob.toml").write_text('[run]\nenv = ["SEED=1"]\n')
    assert "needs confirmation" not in type_here("run", "--", "true").err
    assert "needs confirmation" not in type_here("run", "--", "true", GPUJOB_ENV_FILE="../private.env").err


def test_a_confirmation_holds_for_its_project_and_for_what_was_confirmed_alone(project, tmp_path):
    consents.remember(project, ["--secret GITHUB_TOKEN"])
    assert consents.list_missing(project, ["--secret GITHUB_TOKEN"]) == []
    assert consents.list_missing(project, ["--secret GITHUB_TOKEN", "--secret OTHER"]) == ["--secret OTHER"]
    assert consents.list_missing(tmp_path / "elsewhere", ["--secret GITHUB_TOKEN"]) == ["--secret GITHUB_TOKEN"]
    consents.remember(project, ["--secret OTHER"])
    assert consents.list_missing(project, ["--secret GITHUB_TOKEN", "--secret OTHER"]) == []
    for broken in ("{", "[]", '{"project": 1}', '{"allowed": 3}'):
        consents.consent_file(project).write_text(broken)
        assert consents.list_missing(project, ["--secret OTHER"]) == ["--secret OTHER"]


def answer(laptop: Laptop, text: str, *words: str) -> Finished:
    """Run a command at a terminal, with this text typed ahead."""
    near, far = pty.openpty()
    os.write(near, text.encode())
    try:
        done = subprocess.run(
            [*COMMAND, *words],
            cwd=laptop.project,
            env=laptop.environment,
            stdin=far,
            capture_output=True,
            timeout=120,
            check=False,
        )
    finally:
        os.close(near)
        os.close(far)
    return Finished(done.returncode, done.stdout.decode(), done.stderr.decode())


def test_at_a_terminal_it_is_asked_once_for_a_project(rented, tmp_path):
    laptop = Laptop(rented.home, tmp_path, {"GPUJOB_CLUSTER": "shared", "GITHUB_TOKEN": "ghp-mine-alone"})
    laptop.write("gpujob.toml", '[run]\nsecret = ["GITHUB_TOKEN"]\n')
    laptop.write("show.py", "import os; print(len(os.environ['GITHUB_TOKEN']))")
    no = answer(laptop, "n\n", "run", "show.py")
    assert (no.code, no.out, "aborted; nothing was changed" in no.err) == (1, "", True), no.said
    yes = answer(laptop, "y\n", "run", "show.py")
    assert (yes.code, yes.out) == (0, "14\n"), yes.said
    assert f"gpujob.toml in {tmp_path} passes to the job, from this computer: the variable GITHUB_TOKEN" in yes.err
    again = laptop.type("run", "show.py")
    assert (again.code, again.out) == (0, "14\n"), again.said
