"""What is known of a cluster's jobs when it is no longer there."""

import json

import pytest

from tests.here import move_in, type_here
from tests.history.past import record


@pytest.fixture
def project(tmp_path, monkeypatch):
    return move_in(tmp_path, monkeypatch)


def test_jobs_lists_the_receipts_of_the_cluster_and_says_so(project):
    record(project, 1, name="best")
    record(project, 2, exit_code=3, state="failed")
    record(project, 3, exit_code=None, state="running")
    record(project, 1, cluster={"name": "other"})
    listed = type_here("jobs")
    assert listed.code == 0, listed.said
    assert "no cluster 'project'; showing the jobs recorded in runs/\n" in listed.err
    assert [line.split("\t")[:4] for line in listed.out.splitlines()] == [
        ["job", "name", "state", "exit"],
        ["1", "best", "succeeded", "0"],
        ["2", "", "failed", "3"],
        ["3", "", "was running", ""],  # it has not been asked since
    ]
    told = json.loads(type_here("jobs", "--json").out)
    assert [(job["number"], job["cluster"], job["usd"]) for job in told] == [(n, "project", 1.0) for n in (1, 2, 3)]
    assert len(type_here("jobs", "--cluster", "other").out.splitlines()) == 2


def test_a_job_of_which_nothing_was_downloaded_is_not_said_to_have_results(project):
    record(project, 1)
    assert "the results of job 1 are in" in type_here("fetch").err
    (record(project, 2, exit_code=None, state="queued") / "job.log").unlink()
    assert "results of job" not in type_here("fetch").err


def test_jobs_of_a_cluster_of_which_nothing_is_recorded_is_refused(project):
    record(project, 1)
    refused = type_here("jobs", "--cluster", "other")
    assert (refused.code, "no cluster 'other'" in refused.err, refused.out) == (1, True, "")


def test_receipt_says_that_it_is_the_saved_one(project):
    record(project, 1, name="best")
    shown = type_here("receipt", "1")
    assert shown.code == 0, shown.said
    assert "no cluster 'project' on this computer; showing the receipt saved in runs/\n" in shown.err
    assert "best" in shown.out


def test_logs_prints_what_was_saved(project):
    record(project, 1, name="best", log="first\nloss 0.5\nlast\n")
    record(project, 2, log="\x1b]0;title\x07other\n")
    printed = type_here("logs", "best")
    assert (printed.code, printed.out) == (0, "first\nloss 0.5\nlast\n")
    assert "no cluster 'project'; showing the output of job 1 saved in " in printed.err
    assert type_here("logs", "1", "-n", "2").out == "loss 0.5\nlast\n"
    assert type_here("logs", "1", "--since", "6b").out == "loss 0.5\nlast\n"
    assert "showing all of it" in type_here("logs", "1", "-f", "--since", "10m").err
    assert type_here("logs").out.endswith("other\n")
    missing = type_here("logs", "3")
    assert (missing.code, missing.out) == (1, "")


def test_a_log_that_is_a_link_is_not_followed(project, tmp_path):
    home = record(project, 1, log="own\n")
    (tmp_path / "secret").write_text("secret")
    (home / "job.log").unlink()
    (home / "job.log").symlink_to(tmp_path / "secret")
    assert (type_here("logs", "1").code, "secret" in type_here("logs", "1").out) == (1, False)
