"""The line about what is still running, and what run --down makes of a job's end."""

import re
import time
from dataclasses import replace

import pytest

from cli.notices import billing
from cli.steps import termination
from cli.terminal import formats, show
from infra.ec2.account import Account
from infra.errors import CloudError, GoneError, LossError, NodeError, UsageError
from infra.fetch.terms import Terms
from infra.model import Cluster, Gpu, Job, Node, Output

NODE = Node("i-1", "running", "h", 22, "g4dn.xlarge", "us-east-1a", price_usd=0.526)
STUD = Cluster(
    "stud", "aws", "us-east-1", (NODE,), Gpu("T4"), 0.526, time.time() + 12 * 3600, 0, "me", 0.011, idle_stop_s=3600
)
JOB = Job(4, "", ("python", "a.py"), "failed", "", (), 3, 0, 0, None, 1, 1, 0, False, "", "", "")
LARGE = Output("checkpoint.pt", 3_000_000_000, "0" * 64, 0o644)


def test_a_machine_on_aws_is_told_with_its_whole_price_its_end_and_the_command_that_stops_the_bill():
    assert re.fullmatch(
        r"stud is still running: \$0\.54/h, ends itself at \d\d:\d\d or after 1 h idle once all outputs are downloaded\n"
        r"  Stop paying: gpujob down stud",
        billing.running(STUD),
    )
    assert "idle" not in billing.running(replace(STUD, idle_stop_s=0))
    stopped = replace(STUD, nodes=(replace(NODE, state="stopped"),))  # as it was remembered; it was reached just now
    assert "$0.54/h" in billing.running(stopped)
    assert billing.standing(stopped) == "stopped, $0.01/h"
    assert billing.standing(replace(STUD, nodes=(replace(NODE, state="gone"),))) == "gone"


def test_the_end_has_its_date_only_if_it_is_not_within_a_day():
    assert re.fullmatch(r"\d\d:\d\d", formats.soon(time.time() + 12 * 3600))
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d", formats.soon(time.time() + 30 * 3600))


def test_facts_stay_in_their_column_on_a_narrow_terminal(monkeypatch, capsys):
    facts = {"cluster": "stud", "image": f"Deep Learning AMI GPU PyTorch, {'x' * 40}\nor another"}
    show.facts(facts)
    assert capsys.readouterr().err.splitlines()[1].endswith("x" * 40), "whole where it is no terminal"
    monkeypatch.setenv("COLUMNS", "41")
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    show.facts(facts)
    lines = [
        "  cluster  stud",
        "  image    Deep Learning AMI GPU PyTorch,",
        " " * 11 + "x" * 40,
        " " * 11 + "or another",
    ]
    assert capsys.readouterr().err.replace("\x1b[0m", "").splitlines() == lines


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (NodeError("no answer"), "stud may still be running"),
        (UsageError("no"), "stud is still running"),
        (KeyboardInterrupt(), "stud is still running"),
    ],
)
def test_a_command_that_fails_says_it_too_and_claims_no_more_than_it_knows(error, said, capsys):
    with pytest.raises(type(error)), billing.reminding(STUD):
        raise error
    assert said in error.__notes__[0]
    assert capsys.readouterr().err == ""


def test_of_a_machine_that_is_gone_nothing_is_said(capsys):
    gone = GoneError("gone")
    with pytest.raises(GoneError), billing.reminding(STUD):
        raise gone
    assert not hasattr(gone, "__notes__")
    assert capsys.readouterr().err == ""


def test_down_ends_nothing_that_was_not_downloaded_whole(monkeypatch, capsys):
    monkeypatch.setattr(termination, "terminate", lambda *_: pytest.fail("terminated"))
    termination.terminate_after(STUD, JOB, downloaded=False)
    said = capsys.readouterr().err
    assert "--down did not terminate stud: some outputs of job 4 were not downloaded\nstud is still running" in said


def test_down_that_would_lose_something_keeps_the_job_s_exit_code_and_one_that_fails_does_not_hide_it(
    monkeypatch, capsys
):
    def refuse(_name: str, _accounts: list[Account], terms: Terms, told: int) -> None:
        assert told == JOB.number
        assert terms.choose([LARGE]) == [], "very large outputs of other jobs are not downloaded unasked"
        raise LossError("job 5 of 'stud' is still running", "gpujob logs -f 5")

    monkeypatch.setattr(termination, "find_accounts", lambda _: [])
    monkeypatch.setattr(termination, "drain_outputs", refuse)
    termination.terminate_after(STUD, JOB, downloaded=True)
    said = capsys.readouterr().err
    assert "--down did not terminate stud: job 5 of 'stud' is still running\n  next: gpujob logs -f 5\n" in said
    for code, exit_code in ((3, 3), (0, 1), (None, 1)):
        error = CloudError("AWS does not answer")
        monkeypatch.setattr(termination, "drain_outputs", lambda *_, error=error, **__: throw(error))
        with pytest.raises(CloudError) as caught:
            termination.terminate_after(STUD, replace(JOB, exit_code=code), downloaded=True)
        assert caught.value.exit_code == exit_code
        assert "stud may still be running: $0.54/h" in caught.value.__notes__[0]


def throw(error: Exception) -> None:
    raise error
