"""How jobs are described: how they ended, and what a queued one waits for."""

from dataclasses import replace

import pytest

from cli.notices.jobs import describe_job, describe_state
from cli.notices.queue import show_queue
from infra.model import Cluster, Gpu, Job, Node, Request
from infra.run.submission import queued
from tests.here import move_in

NODE = Node("i-1", "running", "127.0.0.1", 22, "g5.xlarge", "us-east-1a")


def make_job(number: int, command: str, **changes) -> Job:
    return replace(queued(number, Request(tuple(command.split())), {}), **changes)


def make_cluster(gpus: int) -> Cluster:
    return Cluster("project", "aws", "us-east-1", (NODE,), Gpu("A10G", gpus), 1.0, 0.0, 0.0, "me")


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"state": "failed", "exit_code": 1}, "failed (exit 1) after 2 min"),
        (
            {"state": "failed", "exit_code": 137, "peak_memory_bytes": 15 << 30},
            "was killed (SIGKILL, exit 137) after 2 min: usually out of memory; its largest process used up to 15.0 GiB of"
            " memory\n  Try a smaller batch, or a machine with more RAM.",
        ),
        (
            {"state": "failed", "exit_code": 137},
            "was killed (SIGKILL, exit 137) after 2 min: usually out of memory\n"
            "  Try a smaller batch, or a machine with more RAM.",
        ),
        ({"state": "cancelled", "exit_code": 137}, "cancelled (exit 137) after 2 min"),
        ({"state": "failed", "exit_code": 137, "reason": "stalled"}, "failed (exit 137) after 2 min: stalled"),
        (
            {"state": "failed", "exit_code": 143, "preempted": True},
            "preempted (exit 143) after 2 min: AWS reclaimed the spot machine",
        ),
        ({"state": "succeeded", "exit_code": 0, "preempted": True}, "succeeded after 2 min"),
    ],
)
def test_the_end_of_a_job_is_explained(changes, says):
    assert describe_state(make_job(8, "python train.py", seconds=120.0, **changes)) == says


@pytest.mark.parametrize(
    ("command", "title"),
    [
        ("python train.py --lr 1", "train.py"),
        ("python -m package.train", "package.train"),
        ("/usr/bin/python3 -u sub/train.py", "train.py"),
        ("nvidia-smi -L", "nvidia-smi"),
        ("python", "python"),
    ],
)
def test_a_job_without_a_name_is_known_by_its_script_or_program(command, title):
    assert describe_job(make_job(2, command, state="running", seconds=480.0)) == f"job 2 ({title}, running 8 min)"
    assert describe_job(make_job(2, command, name="best")) == "job 2 (best, queued)"


def show(capsys, gpus: int, *jobs: Job, wanted: int | None = None) -> str:
    show_queue(make_cluster(gpus), jobs, jobs[-1].number, wanted)
    return capsys.readouterr().err


def test_a_queued_job_says_what_it_waits_for_and_how_to_run_alongside(tmp_path, monkeypatch, capsys):
    move_in(tmp_path, monkeypatch)
    running = make_job(2, "python train.py", state="running", seconds=480.0, gpus=(0,))
    waiting = make_job(4, "python eval.py --k 2", name="resnet")
    assert show(capsys, 1, running, waiting) == (
        "job 4 (resnet) is queued behind job 2 (train.py, running 8 min). Ctrl-C leaves it queued.\n"
        "  Run it alongside, without a GPU: gpujob cancel 4, then: gpujob run --gpus 0 eval.py --k 2\n"
    )
    both = replace(running, gpus=(0, 1))
    assert show(capsys, 2, both, make_job(4, "torchrun x.py")).endswith(
        "  Run it alongside: gpujob cancel 4, then: gpujob run --gpus 1 -- torchrun x.py\n"
    )
    more = [make_job(number, "true") for number in range(5, 9)]
    assert show(capsys, 1, running, *more) == (
        "job 8 is queued behind 4 jobs: job 2 (train.py, running 8 min), job 5 (true, queued), job 6 (true, queued)"
        " and 1 more. Ctrl-C leaves it queued.\n"
    )


def test_a_job_that_need_not_wait_is_not_said_to_be_queued(tmp_path, monkeypatch, capsys):
    move_in(tmp_path, monkeypatch)
    running = make_job(2, "true", state="running", gpus=(0,))
    new = make_job(4, "true")
    assert show(capsys, 2, running, new, wanted=1) == ""
    assert show(capsys, 1, replace(running, gpus=()), new) == ""
    assert show(capsys, 1, replace(running, command=("gpujob", "notebook")), new) == ""
    assert show(capsys, 1, replace(running, state="succeeded"), new) == ""
    assert show(capsys, 1, running, replace(new, state="running")) == ""
