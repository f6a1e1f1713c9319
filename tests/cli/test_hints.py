"""Errors that reach neither the machine nor AWS, and suggestions that keep the cluster which was chosen."""

import json
import re
import shlex
import time
from dataclasses import replace

import click
import pytest

from cli.main import gpujob
from cli.options.context import CHOSEN
from cli.suggestions import complete_commands
from infra import state
from infra.errors import CredentialsError, NodeError, UnreachableError
from infra.ledger import known_clusters
from infra.model import Cluster, Gpu, Node
from infra.ssh import keys
from tests.conftest import Laptop
from tests.here import Here, move_in, type_here
from tests.local_cloud_fixtures import make_key

NODE = Node("i-1", "running", "127.0.0.1", 1, "g4dn.xlarge", "us-east-1a", price_usd=0.526)  # nothing answers there
AWS = Cluster(
    "stud",
    "aws",
    "us-east-1",
    (NODE,),
    Gpu("T4"),
    0.526,
    time.time() + 1800,
    time.time() - 3600,
    "arn:aws:iam::1:user/u",
)
CONTINUES = re.compile(
    r"stud may still be running, \$0\.53/h; it and its jobs continue until its lease ends at \d\d:\d\d\n"
)


@pytest.fixture
def stud(tmp_path, monkeypatch):
    """A cluster on AWS that was launched from this computer, which has no credentials any more."""
    project = move_in(tmp_path, monkeypatch)
    (project / "train.py").write_text("print('hello')\n")
    known_clusters.remember(replace(AWS, lease_until=time.time() + 1800))
    state.write_private(state.key_file("stud"), make_key())
    keys.pin(state.known_hosts_file("stud"), {"i-1": make_key_line()})


def make_key_line() -> str:
    """Return a host key, which nobody has."""
    import io

    import paramiko

    key = paramiko.Ed25519Key.from_private_key(io.StringIO(make_key()))
    return f"{key.get_name()} {key.get_base64()}"


@pytest.mark.parametrize(
    "words",
    [
        ("jobs", "--cluster", "stud"),
        ("logs", "--cluster", "stud", "-f", "1"),
        ("run", "--cluster", "stud", "train.py", "--epochs", "3"),
        ("ssh", "stud", "--", "true"),
        ("extend", "stud", "2h"),
        ("stop", "stud", "--yes"),
        ("down", "stud", "--yes"),
    ],
    ids=" ".join,
)
@pytest.mark.usefixtures("stud")
def test_without_a_machine_or_credentials_it_says_that_both_go_on_and_how_to_log_in_again(words):
    typed = type_here(*words)
    assert typed.code == 1, typed.said
    assert "no AWS credentials found" in typed.err
    assert CONTINUES.search(typed.err), typed.err
    assert typed.err.endswith(f"next: log in: aws sso login, or aws configure; then: gpujob {shlex.join(words)}\n")


@pytest.mark.usefixtures("stud")
def test_a_lease_that_is_over_is_not_said_to_go_on():
    known_clusters.remember(replace(AWS, lease_until=time.time() - 60))
    assert "its machine should have terminated itself then" in type_here("jobs", "--cluster", "stud").err


@pytest.mark.usefixtures("stud")
def test_a_listing_shows_what_is_recorded_where_aws_cannot_be_asked():
    listed = type_here("ls")
    assert listed.code == 1
    assert re.search(r"^stud\tunknown\tg4dn.xlarge\tT4\t.*\t\$0\.53/h\t.*\tat most \d+ min", listed.out, re.MULTILINE)
    assert "Cannot tell whether anything is running there" in listed.err
    assert "another" not in listed.err
    assert json.loads(type_here("ls", "--json").out)[0]["nodes"][0]["state"] == "unknown"
    assert "not counted: stud, AWS was not asked" in type_here("cost").err


def test_neither_error_is_lost_when_the_machine_and_its_cloud_are_silent():
    error = UnreachableError(NodeError("cannot connect to i-1"), CredentialsError("the login has expired", "log in"))
    assert (error.what, error.hint) == (
        "cannot connect to i-1; could not ask AWS either: the login has expired",
        "log in",
    )


@pytest.mark.parametrize(
    ("hint", "kept"),
    [
        ("gpujob jobs", "gpujob jobs --cluster stud"),
        ("gpujob jobs rm --done", "gpujob jobs rm --cluster stud --done"),
        ("run one: gpujob run SCRIPT", "run one: gpujob run --cluster stud SCRIPT"),
        ("gpujob fetch 3 --yes; or: gpujob down stud", "gpujob fetch --cluster stud 3 --yes; or: gpujob down stud"),
        ("gpujob logs 3, or: gpujob cancel 3", "gpujob logs --cluster stud 3, or: gpujob cancel --cluster stud 3"),
        ("gpujob jobs --cluster stud", "gpujob jobs --cluster stud"),
        ("gpujob ls", "gpujob ls"),
        ("gpujob ssh stud", "gpujob ssh stud"),
        ("fix it and rerun", "fix it and rerun"),
    ],
)
def test_a_suggested_command_names_the_cluster_that_was_chosen(tmp_path, monkeypatch, hint, kept):
    move_in(tmp_path, monkeypatch)
    context = click.Context(gpujob)
    context.meta[CHOSEN] = "stud"
    assert complete_commands(hint, context) == kept
    context.meta[CHOSEN] = "project"
    assert complete_commands(hint, context) == hint  # the folder's own needs no name


@pytest.mark.parametrize(
    ("words", "suggested"),
    [
        (("logs", "99"), "gpujob jobs --cluster shared"),
        (("run", "--gpus", "1", "traim.py"), "gpujob run --cluster shared --gpus 1 train.py, or as a command:"),
        (("run", "--gpus", "9", "train.py"), "--gpus 1"),
        (("fetch", "99"), "gpujob jobs --cluster shared"),
        (("run",), "gpujob run --cluster shared train.py, or: gpujob run --cluster shared -- nvidia-smi"),
    ],
    ids=lambda part: " ".join(part) if isinstance(part, tuple) else "",
)
def test_what_is_suggested_while_a_variable_chose_the_cluster_names_it(project: Laptop, words, suggested):
    project.write("train.py", "print('hello')\n")
    here = Here(project.home, project.project, project.settings)
    assert f"next: {suggested}" in here.type(*words).err


@pytest.mark.parametrize(
    ("words", "says", "suggested"),
    [
        (
            ("run", "traim.py"),
            "no such script: 'traim.py'",
            "gpujob run train.py, or as a command: gpujob run -- traim.py",
        ),
        (("run", "train.py"), "no cluster 'project'", "gpujob up project"),
        (
            ("send", "traim.py"),
            "no such script: 'traim.py'",
            "gpujob send train.py, or as a command: gpujob send -- traim.py",
        ),
        (("send",), "nothing to run", "gpujob send train.py, or: gpujob send -- nvidia-smi"),
        (("send", "--grid", "lr", "train.py"), "is not NAME=VALUE,VALUE", "gpujob send --grid lr=1e-3,1e-4 train.py"),
        (("send", "--nproc", "2", "train.py"), "--nproc needs torchrun", "gpujob send --torchrun --nproc 2 train.py"),
        (("send", "--dry-run", "traim.py"), "no such script", "gpujob send --dry-run train.py"),
    ],
    ids=lambda part: " ".join(part) if isinstance(part, tuple) else "",
)
def test_what_is_typed_wrong_is_said_first_and_the_suggestion_names_the_same_command(
    tmp_path, monkeypatch, words, says, suggested
):
    (move_in(tmp_path, monkeypatch) / "train.py").write_text("print('hello')\n")
    refused = type_here(*words)
    assert (refused.code in (1, 2), says in refused.err, f"  next: {suggested}" in refused.err) == (True,) * 3, (
        refused.err
    )
