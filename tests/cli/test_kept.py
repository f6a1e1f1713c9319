"""A suggested command keeps the profile, the region, the cluster and --force that were typed."""

import shlex
import time

import click
import pytest

from cli.commands import COMMANDS, WITHOUT_AWS
from cli.main import gpujob
from infra.ledger import known_clusters
from infra.model import Cluster, Gpu, Node
from tests.conftest import Finished, Laptop
from tests.here import Here, move_in, type_here
from tests.words import COMMAND, ENDS, is_command, split

PROFILE, REGION = ("--profile", "my work"), ("--region", "eu-west-3")
NODE = Node("i-1", "running", "127.0.0.1", 1, "g4dn.xlarge", "us-east-1a", price_usd=0.526)
STUD = Cluster(
    "stud", "aws", "us-east-1", (NODE,), Gpu("T4"), 0.526, time.time() + 1800, time.time() - 3600, "arn:aws:iam::1:u"
)
WORDS = [
    "up",
    "up --plan",
    "up stud --yes",
    "up --gpu A10H",
    "offers",
    "ls",
    "ls --all-regions",
    "cost",
    "check",
    "images",
    "images rm nothing --yes",
    "sweep",
    "down stud --force --yes",
    "down stu --force --yes",
    "down --all --yes",
    "stop stud --yes",
    "start stud --yes",
    "extend stud",
    "extend stud 2h --yes",
    "bake stud --as ubuntu",
    "setup stud",
    "verify stud",
    "notebook stud",
    "ssh stud -- true",
    "run",
    "run train.pie",
    "run train.py",
    "run --torchrun a.sh",
    "send",
    "send train.pie",
    "send train.py",
    "jobs",
    "jobs rm",
    "logs 3",
    "attach",
    "wait",
    "cancel 1",
    "fetch 2",
    "data push",
    "data ls",
    "data rm x",
    "receipt 1",
    "rerun 1",
    "top",
    "tunnel 80",
    "bucket ls auto",
    "tensorboard",
    "staus",
]
ON_A_MACHINE = [
    "jobs rm",
    "logs 99",
    "fetch 99",
    "cancel 99",
    "wait 99",
    "run traim.py",
    "run --gpus 9 train.py",
    "run --detach train.py",
    "rerun 99",
    "receipt 99",
    "data rm nothing",
    "top",
]


def find_command(words: list[str]) -> click.Command:
    """Return the command that words name."""
    command = gpujob
    for word in words:
        if isinstance(command, click.Group) and word in command.commands:
            command = command.commands[word]
    return command


def find_suggested(text: str) -> list[list[str]]:
    """Return the words of all commands in a text, without `gpujob`."""
    found = (ENDS.split(f"{one[1]} ")[0].strip(" '.:") for one in COMMAND.finditer(text))
    return [split(words) for words in found if is_command(words.partition(" ")[0])]


def find_lost(typed: Finished, *flags: str) -> list[str]:
    """Return the suggested commands that accept a flag and do not have it, each flag once."""
    lost = []
    for words in find_suggested(typed.said):
        accepted = {name for parameter in find_command(words).params for name in parameter.opts}
        lost += [f"{flag}: {shlex.join(words)}" for flag in flags if flag in accepted and flag not in words]
    return lost


def accepts(words: str, flag: str) -> bool:
    """Tell whether the command of these words has an option."""
    return any(flag in parameter.opts for parameter in find_command(words.split()).params)


def type_with(words: str, *flags: str) -> list[str]:
    """Return words with these flags after the command's name, where it may be that of a group."""
    first, *rest = words.split()
    if rest and find_command([first]) is not find_command([first, rest[0]]):
        return [first, rest[0], *flags, *rest[1:]]
    return [first, *flags, *rest]


@pytest.fixture
def stud(tmp_path, monkeypatch):
    """A cluster on AWS, where there are no credentials."""
    (move_in(tmp_path, monkeypatch) / "train.py").write_text("print('hello')\n")
    known_clusters.remember(STUD)


@pytest.mark.parametrize("words", WORDS)
@pytest.mark.usefixtures("stud")
def test_what_was_typed_is_in_every_command_that_is_suggested(words):
    flags = [*PROFILE, *(REGION if accepts(words, "--region") else ())]
    flags += ["--cluster", "stud"] if accepts(words, "--cluster") else []
    lost = ["--profile", *(["--region"] if REGION[0] in flags and "--all-regions" not in words else [])]
    lost += ["--cluster"] if "--cluster" in flags else []
    typed = type_here(*type_with(words, *flags))
    assert find_lost(typed, *lost) == [], typed.said
    assert typed.code, typed.said


def test_every_command_that_asks_aws_is_typed_here():
    assert {*COMMANDS} - {*WITHOUT_AWS, "ssh-config"} == {words.partition(" ")[0] for words in WORDS} - {"staus"}


@pytest.mark.usefixtures("stud")
def test_a_profile_of_a_variable_is_not_repeated():
    typed = type_here("jobs", "rm", "--cluster", "stud", GPUJOB_PROFILE="work", GPUJOB_REGION="eu-west-3")
    assert typed.err.endswith("next: gpujob jobs rm --cluster stud --done\n")


@pytest.mark.usefixtures("stud")
def test_a_cluster_that_was_meant_is_suggested_with_all_that_was_typed(monkeypatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "x")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "y")
    typed = type_here("down", "stu", "--force", "--dry-run", *REGION)
    assert "next: gpujob down stud --force --dry-run --region eu-west-3" in typed.err, typed.said


@pytest.mark.parametrize("words", ON_A_MACHINE)
def test_the_cluster_and_the_profile_are_kept_where_a_machine_answers(project: Laptop, words):
    project.write("train.py", "print('hello')\n")
    here = Here(project.home, project.project, {})
    typed = here.type(*type_with(words, *PROFILE, "--cluster", "shared"))
    assert find_lost(typed, "--profile", "--cluster") == [], typed.said
    assert words in ("top", "run --gpus 9 train.py") or find_suggested(typed.said), typed.said
