"""What --json prints is what docs/schemas says, with nothing missing and nothing more, and all that the table shows."""

import json
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jsonschema
import pytest

from cli.account.bucket import bucket_facts, job_facts, job_row
from cli.account.orphans import orphan_facts, orphan_row
from cli.arrays.table import Table
from cli.cluster.verify import row_facts
from cli.image.images import image_facts, image_row
from cli.main import gpujob
from infra.checks.verification import Row
from infra.cluster.orphans import Orphan
from infra.ec2.machines.own_images import Baked
from infra.history.tasks import TaskRun
from infra.model import TaskRecord
from infra.saved.usage import StoredJob, Usage
from tests import schemas
from tests.conftest import Finished, Laptop
from tests.here import Here
from tests.history.past import record

SCHEMAS = schemas.read_schemas()
FORMATS = jsonschema.FormatChecker(formats=())
FORMATS.checks("date-time")(lambda value: not isinstance(value, str) or value.endswith("Z"))
BAKED = Baked(
    *("cake", "ami-1", "available", "aws", "us-east-1", "arn:aws:iam::1:user/u", "stud", "i-1", "g5.xlarge", "dlami"),
    *(("snap-1",), 100.0, 100, "2026-11-24T14:05:00.000Z"),
)
ACCOUNT = SimpleNamespace(cloud="aws", region="us-east-1")
ORPHAN = Orphan(ACCOUNT, "stud", "arn:aws:iam::1:user/u", ("key pair k-1",), 0.5, "its machine was terminated")
TASK = TaskRecord(0, {}, "failed", 1, "", 0, 3.0, 60.0, 1, "i-1")
TABLE = Table([TaskRun(TASK, {}, 0.5, Path("runs/stud-1/files/0"), Path("runs/stud-1/files/0.log"))])
STORED = StoredJob("stud", "a1b2", 5, 1000, 1.7e9, ended=1)
COMMANDS = {
    "up": ("up", "other", "--plan", "--dry-run"),
    "offers": ("offers", "--dry-run", "--gpu", "T4"),
    "ls": ("ls",),
    "jobs": ("jobs",),
    "data-ls": ("data", "ls"),
    "receipt": ("receipt", "{job}"),
    "runs": ("runs",),
    "diff": ("diff", "{job}", "{job}"),
    "top": ("top",),
    "cost": ("cost",),
    "check": ("check", "--dry-run"),
    "config": ("config",),
    "local-status": ("local", "status"),
    "local-faults": ("local", "faults"),
    "images": ("images",),
    "sweep": ("sweep", "--dry-run", "--region", "us-east-1"),
}
FACTS = {"up", "receipt", "top"}
"""Commands that show names and values below each other."""
MADE: dict[str, tuple[Callable[[], Any], Callable[[], dict[str, str]]]] = {
    "bucket-ls": (lambda: [job_facts(STORED, True)], partial(job_row, STORED, True)),
    "bucket-du": (lambda: bucket_facts("b", Usage(1, 1000, 0.1, 20, 0.0001)), dict),
    "images": (lambda: [image_facts(BAKED)], partial(image_row, BAKED)),
    "sweep": (lambda: [orphan_facts(ORPHAN)], partial(orphan_row, ORPHAN)),
    "tasks": (lambda: TABLE.list_facts([0]), lambda: {**TABLE.lines[0].shown}),
    "verify": (lambda: [row_facts(Row("stud-0", "driver", "ok", "570"))],) * 2,
}
"""What takes minutes to come about: made here, and shown as the commands do."""


def check(name: str, data: Any) -> None:
    """Compare what a command printed with its schema."""
    jsonschema.validate(data, SCHEMAS[name], jsonschema.Draft202012Validator, format_checker=FORMATS)


def find_headings(name: str, typed: Finished) -> set[str]:
    """Return the headings of a table, or the names of facts, as a pipe gets them."""
    if name not in FACTS:
        return set(typed.out.partition("\n")[0].split("\t"))
    lines = (typed.err if name == "up" else typed.out).splitlines()
    if name == "top":
        lines = [line for line in lines if not line[0].isdigit()]  # its jobs
        return {
            word for line in lines for word in (line.split("\t") if line.startswith("job\t") else line.split("\t")[:1])
        }
    return {line[2:].partition("  ")[0] for line in lines if re.match("  [a-z]", line)}


@pytest.fixture(scope="module")
def here(rented: Laptop, tmp_path_factory: pytest.TempPathFactory) -> Here:
    """A project with a data set and a finished job on a machine."""
    here = Here(rented.home, tmp_path_factory.mktemp("json"), rented.settings)
    here.write("gpujob.toml", '[data]\nfolders = ["cats"]\n[up]\ndisk = 120\n')
    here.write("cats/1.txt", "cat")
    here.write("train.py", "open('loss.txt', 'w').write('1')\nprint('loss: 0.5')\n")
    run = here.type("run", "--name", "best", "train.py")
    assert run.code == 0, run.said
    return here


def test_every_command_with_json_is_typed_here():
    assert {*COMMANDS, *MADE} == {*schemas.find_commands(gpujob)}


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_prints_what_its_schema_says_and_all_that_its_table_shows(here, name):
    typed = [word.format(job="best") for word in COMMANDS[name]]
    data = json.loads(here.type(*typed, "--json").out)
    check(name, data)
    if name in MADE or name == "diff":
        return
    assert data
    shown = find_headings(name, here.type(*typed))
    assert len(shown) > 1
    assert shown - schemas.list_columns(SCHEMAS[name]) <= ({"loss"} if name == "runs" else set())


@pytest.mark.parametrize("name", MADE)
def test_what_takes_minutes_to_come_about_is_described_too(name):
    facts, row = MADE[name]
    check(name, json.loads(json.dumps(facts())))
    shown = row()
    assert {*(shown if isinstance(shown, dict) else shown[0])} <= schemas.list_columns(SCHEMAS[name])


def test_jobs_of_an_ended_cluster_are_listed_in_the_same_form(laptop):
    record(laptop.project, 1, {"model.pt": "weights"})
    here = Here(laptop.home, laptop.project)
    data = json.loads(here.type("jobs", "--json").out)
    assert len(data) == 1
    check("jobs", data)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"state": 1}, "1 is not"),
        ({"lease_until": 1.5}, "not of type"),
        ({"lease_until": "14:05"}, "date-time"),
        ({"x": 1}, "x"),
    ],
)
def test_a_wrong_field_is_found(here, change, why):
    [cluster] = json.loads(here.type("ls", "--json").out)
    with pytest.raises(jsonschema.ValidationError, match=why):
        check("ls", [{**cluster, **change}])
