"""The acceptance test for a real account (make test-aws), here against the local cloud: it passes, notices faults, cleans up."""

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from infra.local.cloud.server import control
from tests.aws import __main__ as start
from tests.aws.checks import CHECKS
from tests.aws.report import redact
from tests.aws.run import plan_cost, run_checks
from tests.aws.session import Session, clean
from tests.cloudwatch import Watch, keep_alive, watch
from tests.conftest import Finished, Laptop, make_laptop
from tests.local_cloud_fixtures import client

pytestmark = pytest.mark.timeout(400)

UNKNOWN_HERE = {
    "lease expired: spot request closed",
    "least policy on a fresh role",
    "GPU: verify",
    "sweep",
}
"""What cannot be known without an account, or within a minute."""


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[tuple[Session, Watch, Laptop]]:
    """A session on a local cloud, with somebody else's machine in it."""
    laptop = make_laptop(tmp_path, GPUJOB_DRY_RUN="1")
    try:
        assert laptop.type("check").code == 0
        seen = watch(laptop)
        keep_alive(seen)

        def type_in(words: tuple[str, ...], variables: Mapping[str, str]) -> Finished:
            assert not variables
            return laptop.type(*words)

        state = laptop.home / ".local/state/gpujob"
        session = Session(
            type_in, lambda service: client(seen.cloud, service), "us-east-1", "me", state, laptop.project, local=True
        )
        yield session, seen, laptop
    finally:
        laptop.give_back()


def test_on_the_local_cloud_every_check_passes_but_those_that_need_an_account(desk, tmp_path):
    session, seen, laptop = desk
    assert laptop.type("up", session.name("copy"), "--instance-type", "t3.micro").code == 0
    assert clean(session) == [], "what a killed run has left is removed by the next"
    assert seen.remains() == []
    assert 0 < sum(plan_cost(session).values()) < 1
    results = run_checks(session, tmp_path / "aws-report.md", lambda _: None)
    assert {one.check: (one.outcome, one.detail) for one in results if one.outcome == "failed"} == {}
    assert {one.check for one in results if one.outcome == "not run"} == UNKNOWN_HERE
    assert len(results) == len(CHECKS)
    assert seen.remains() == []
    report = (tmp_path / "aws-report.md").read_text()
    assert "| lease moved | passed |" in report
    assert "123456789012" not in report
    assert str(Path.home()) not in report


def test_what_does_not_work_is_in_the_report_with_ec2_s_words_and_nothing_is_left(desk, tmp_path):
    session, seen, _ = desk
    control.add_faults(seen.cloud, "denied=ec2:CreateSecurityGroup")
    wanted = [check for check in CHECKS if check.name in ("image parameter names", "console keys", "lease armed")]
    results = {one.check: one for one in run_checks(session, tmp_path / "aws-report.md", lambda _: None, wanted)}
    assert results["image parameter names"].outcome == "passed"
    assert results["console keys"].outcome == "failed"
    assert "You are not authorized to perform this operation" in results["console keys"].detail
    assert (results["lease armed"].outcome, results["lease armed"].detail) == ("not run", "needs: console keys")
    report = (tmp_path / "aws-report.md").read_text()
    assert "1 passed, 1 failed, 1 not run" in report
    assert seen.remains() == []


def test_ctrl_c_removes_what_was_created_and_reports_what_was_not_run(desk, tmp_path):
    session, seen, _ = desk

    def interrupt(text: str) -> None:
        if text.startswith("lease armed"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_checks(
            session, tmp_path / "aws-report.md", interrupt, [one for one in CHECKS if "lease" in one.run.__module__]
        )
    assert seen.remains() == []
    report = (tmp_path / "aws-report.md").read_text()
    assert "| console keys | passed |" in report
    assert "| lease moved | not run | 0 s | interrupted before |" in report
    assert "| cleaning up | passed |" in report


@pytest.mark.parametrize(
    "secret",
    [
        "arn:aws:iam::123456789012:user/ada",
        "123456789012",
        "AKIAIOSFODNN7EXAMPLE",
        "203.0.113.7/32",
        "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
        "Encoded authorization failure message: 6h34GtpmGjJJUm946eDVBfzWQJk6z5GePbbGDs9Z2T8xZj9EZtEduSnTbmrR7pMq",
        "-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXktdjE\n-----END OPENSSH PRIVATE KEY-----",
    ],
)
def test_a_report_has_no_secrets_account_numbers_or_addresses(secret):
    text = redact(f"it said aws_secret_access_key = {secret} of i-0123456789abcdef0 in us-east-1")
    assert not [word for word in secret.split() if len(word) > 11 and word in text]
    assert "us-east-1" in text


@pytest.mark.parametrize(("settings", "said"), [({}, "GPUJOB_TEST_AWS=1"), ({"GPUJOB_TEST_AWS": "1"}, "name a region")])
def test_nothing_happens_unless_it_is_asked_for_with_a_region(settings, said, monkeypatch, capsys):
    for name in ("GPUJOB_TEST_AWS", "AWS_REGION", "AWS_DEFAULT_REGION", "CI"):
        monkeypatch.delenv(name, raising=False)
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "argv", ["test-aws"])
    monkeypatch.setattr(start, "open_session", None)
    assert start.main() == 2
    assert said in capsys.readouterr().err
