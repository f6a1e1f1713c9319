"""The status page: what `gpujob` without a command prints."""

import json
import shutil
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from cli.account import status
from infra import state
from infra.cluster import overview
from infra.cluster.groups import Wait
from infra.ec2.account import open_local
from infra.ledger import costs, known_clusters
from infra.model import GONE, WAITING, Cluster, Gpu, Node
from infra.results.receipts import format_receipt, make_receipt
from tests.cli.test_billing import JOB
from tests.conftest import Laptop
from tests.here import move_in, type_here

NODE = Node("i-1", "running", "h", 22, "g4dn.xlarge", "us-east-1a", price_usd=0.526)
STUD = Cluster("stud", "aws", "us-east-1", (NODE,), Gpu("T4"), 0.526, time.time() + 12 * 3600, time.time() - 3600, "me")
LOCAL = replace(STUD, name="gp", cloud="local")


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """A project of a user without AWS credentials who has never used gpujob."""
    return move_in(tmp_path, monkeypatch)


def add_receipt(project: Path, cluster: Cluster, **changes: object) -> None:
    """Write the receipt of a job of this cluster."""
    now = time.time()
    times = {"started_at": now - 60, "ended_at": now - 30, "exit_code": 3, "fetched": True}
    job = replace(JOB, **{**times, **changes})
    results = project / "runs" / f"{cluster.name}-{job.number}"
    results.mkdir(parents=True)
    (results / "receipt.json").write_bytes(format_receipt(make_receipt(cluster, job, ())))


def test_a_first_page_says_that_aws_was_not_asked_and_leads_to_a_dry_run(folder):
    page = type_here()
    assert (page.code, page.err) == (0, "")
    assert "Nothing is running on the local cloud." in page.out
    assert "Could not ask AWS: no credentials found. Cannot tell whether anything is running there." in page.out
    assert page.out.partition("Next:\n")[2].startswith("  gpujob up --dry-run ")
    assert "gpujob init demo" in page.out


def test_a_machine_on_aws_that_cannot_be_asked_about_is_shown_as_recorded(folder):
    known_clusters.remember(STUD)
    page = type_here()
    assert page.code == 0
    assert "stud\tunknown\tg4dn.xlarge T4\tus-east-1\t$0.53/h\t\t" in page.out
    assert "Nothing is running on AWS" not in page.out
    assert "aws sso login" in page.out


def test_a_sent_job_that_has_ended_is_shown_until_it_is_removed(folder, monkeypatch):
    monkeypatch.setattr(overview, "explain_unasked", lambda _: None)
    ended = replace(STUD, nodes=(replace(NODE, state=GONE),), price_usd=0.0, token="t")
    waiting = replace(STUD, name="late", nodes=(Node("", WAITING, "", 22, "", ""),), price_usd=0.0, token="u")
    monkeypatch.setattr(overview, "list_clusters", lambda dry_run: (ended,))
    monkeypatch.setattr(overview.groups, "list_waiting", lambda dry_run: [])
    page = type_here().out
    assert "stud\tended\t" in page and "Nothing is running" in page
    assert "gpujob jobs --cluster stud" in page and "gpujob down stud" in page
    monkeypatch.setattr(overview.groups, "list_waiting", lambda dry_run: [Wait(waiting, 1, ())])
    page = type_here().out
    assert "late\twaiting\t" in page and "Nothing is running" not in page
    assert "gpujob ls" in page and "gpujob down late" in page


def test_what_ended_lately_is_shown_latest_first_and_what_ended_long_ago_is_not(folder):
    costs.record_end(open_local("http://nowhere", "key"), [LOCAL])
    add_receipt(folder, replace(STUD, price_usd=60.0))
    add_receipt(folder, STUD, number=5, started_at=10.0, ended_at=20.0)
    add_receipt(folder, STUD, number=6, ended_at=None, exit_code=None, state="running")
    rows = [line.split("\t") for line in type_here().out.partition("Ended in the last 7 days:\n")[2].splitlines()]
    assert rows[1][:2] == ["cluster gp", "terminated"]
    assert rows[1][3] == "dry run"
    assert rows[2][:2] == ["job 4 on stud: python a.py", "failed (exit 3)"]
    assert rows[2][4] == "runs/stud-4"
    assert rows[3] == [""]


@pytest.mark.parametrize("text", ["", "[]", '{"job": {}}', '{"job": {"state": 1, "number": []}, "usd": "x"}'])
def test_a_receipt_that_is_none_is_passed_over(folder, text):
    (folder / "runs" / "stud-1").mkdir(parents=True)
    (folder / "runs" / "stud-1" / "receipt.json").write_text(text)
    page = type_here()
    assert page.code == 0
    assert "Ended" not in page.out


def test_an_aws_that_does_not_answer_soon_is_not_waited_for(folder, monkeypatch):
    known_clusters.remember(STUD)
    answered = threading.Event()
    monkeypatch.setattr(overview, "explain_unasked", lambda _: None)
    monkeypatch.setattr(overview, "list_clusters", lambda dry_run: () if dry_run else answered.wait(30))
    monkeypatch.setattr(status, "LIMIT_S", 0.05)
    page = type_here()
    answered.set()
    assert page.code == 0
    assert "Could not ask AWS: no answer within 0.05 s." in page.out
    assert "stud\tunknown" in page.out


def test_the_page_needs_no_folder(folder):
    shutil.rmtree(folder)
    page = type_here()
    assert page.code == 0
    assert "gpujob up --dry-run" in page.out


def test_a_launch_that_was_interrupted_is_shown(folder):
    state.write_private(state.attempt_file("half"), "{}")
    assert "The launch of 'half' is not finished. Rerun its gpujob up, or: gpujob down half" in type_here().out


def test_with_the_variable_of_a_dry_run_aws_is_not_asked(folder):
    assert "AWS was not asked: GPUJOB_DRY_RUN is set." in type_here(GPUJOB_DRY_RUN="1").out


def test_a_running_machine_is_shown_with_its_price_and_how_to_use_and_end_it(project: Laptop):
    project.write("train.py", "print(1)")
    page = project.type()
    assert page.code == 0, page.said
    assert "shared\trunning\tg4dn.xlarge T4\tlocal us-east-1\t$0.54/h\t" in page.out
    for step in ("gpujob run --cluster shared train.py", "gpujob jobs --cluster shared", "gpujob down shared"):
        assert f"  {step} " in page.out
    assert "The local cloud is free" in page.out


def test_with_credentials_aws_is_asked_and_its_machines_are_shown(rented: Laptop, tmp_path, monkeypatch):
    cloud = json.loads((rented.home / ".local/state/gpujob/local/cloud.json").read_text())
    variables = {
        "AWS_ENDPOINT_URL": cloud["url"],
        "AWS_ACCESS_KEY_ID": cloud["access_key"],
        "AWS_SECRET_ACCESS_KEY": "any",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    move_in(tmp_path, monkeypatch, **variables)
    monkeypatch.setattr(status, "LIMIT_S", 60)
    page = type_here()
    assert "shared\trunning\tg4dn.xlarge T4\tus-east-1\t$0.54/h\t" in page.out
    assert "Could not ask" not in page.out
    assert "Other regions were not searched: gpujob ls --all-regions" in page.out
