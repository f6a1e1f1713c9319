"""Jobs by name, and several at once: logs, wait, fetch, cancel, receipt, jobs rm."""

import re
from collections.abc import Iterator

import pytest

from tests.conftest import Laptop
from tests.here import Here


@pytest.fixture
def desk(project: Laptop) -> Iterator[Here]:
    """The laptop with the shared cluster, whose commands run in this process; its jobs are stopped at the end."""
    desk = Here(project.home, project.project, project.settings)
    desk.type("cancel", "--cluster", "shared", "--all")
    yield desk
    assert desk.type("cancel", "--cluster", "shared", "--all").code == 0


def submit(desk: Here, name: str, *command: str) -> str:
    run = desk.type("run", "--detach", "--name", name, "--gpus", "0", "--", *command)
    assert run.code == 0, run.said
    return re.search(r"^job (\d+) on", run.err, re.MULTILINE)[1]


def cancel(desk: Here, *words: str):
    return desk.type("cancel", "--cluster", "shared", *words)


def test_a_name_stands_for_the_latest_job_that_has_it_and_says_so(desk):
    first, second = (submit(desk, "twin", "echo", word) for word in ("one", "two"))
    assert desk.type("wait", "twin").code == 0
    logs = desk.type("logs", "twin")
    assert logs.out == "two\n"
    assert f"several jobs are named 'twin': {first}, {second}. Using the latest: {second}\n" in logs.err
    assert desk.type("fetch", "twin").code == 0
    assert (desk.project / f"runs/shared-{second}/job.log").read_text() == "two\n"
    assert f"  {second} on 'shared', twin\n" in desk.type("receipt", "twin").out
    unknown = desk.type("logs", "twinn")
    assert (unknown.code, "no job is named 'twinn' on 'shared'" in unknown.err) == (1, True), unknown.said


def test_what_destroys_refuses_a_name_of_several_jobs(desk):
    first, second = (submit(desk, "pair", "sleep", "600") for _ in range(2))
    for words in (["cancel", "--cluster", "shared", "pair"], ["jobs", "rm", "--cluster", "shared", "pair"]):
        refused = desk.type(*words)
        assert (refused.code, f"several jobs are named 'pair': {first}, {second}\n" in refused.err) == (2, True)
    assert cancel(desk, first).code == 0
    assert cancel(desk, "other", second).code == 1
    alone = submit(desk, "alone", "sleep", "600")
    both = cancel(desk, "alone", second)
    assert re.findall(r"job (\d+) cancelled", both.err) == [second, alone]
    removed = desk.type("jobs", "rm", "--cluster", "shared", "--force", "alone", first)
    assert "removed 2 jobs" in removed.err, removed.said


def test_cancel_needs_no_number_for_the_only_active_job(desk):
    nothing = cancel(desk)
    assert (nothing.code, "nothing to do: no job is running or queued on 'shared'" in nothing.err) == (0, True)
    first = submit(desk, "", "sleep", "600")
    second = submit(desk, "last", "sleep", "600")
    refused = cancel(desk)
    assert refused.code == 2
    assert re.search(rf"2 jobs are running or queued: job {first} \(sleep, \w+.*\), job {second} \(last, ", refused.err)
    assert f"next: gpujob cancel --cluster shared {second}, or: gpujob cancel --cluster shared --all\n" in refused.err
    assert f"job {second} cancelled" in cancel(desk, second).err
    assert f"job {first} cancelled" in cancel(desk).err


def test_cancel_all_stops_the_queue_from_its_end_so_that_nothing_starts(desk):
    first = re.search(r"^job (\d+) on", desk.type("run", "-d", "--", "sleep", "600").err, re.MULTILINE)[1]
    run = desk.type("run", "-d", "--", "touch", "started")
    queued = re.search(r"^job (\d+) on", run.err, re.MULTILINE)[1]
    assert f"job {queued} is queued behind job {first} (sleep, " in run.err, run.said
    assert re.findall(r"job (\d+) cancelled", cancel(desk, "--all").err) == [queued, first]
    assert "running" not in desk.type("receipt", queued).out
    refused = cancel(desk, "--all", first)
    assert (refused.code, "jobs cannot be named with --all" in refused.err) == (2, True)


def test_fetch_takes_several_jobs_or_all_that_are_left(desk):
    numbers = [submit(desk, f"part-{each}", "sh", "-c", f"echo {each} > out.txt") for each in "abc"]
    for number in numbers:
        assert desk.type("wait", number).code == 0
    assert desk.type("fetch", numbers[0], "part-b", "part-b").err.count("1 output ") == 2
    everything = desk.type("fetch", "--all")
    assert f"runs/shared-{numbers[2]}/files\n" in everything.err
    assert f"runs/shared-{numbers[0]}/files\n" not in everything.err
    texts = [(desk.project / f"runs/shared-{number}/files/out.txt").read_text() for number in numbers]
    assert texts == ["a\n", "b\n", "c\n"]
    assert "nothing to do: everything on 'shared' is downloaded" in desk.type("fetch", "--all").err
