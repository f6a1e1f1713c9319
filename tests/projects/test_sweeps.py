"""Someone's plain script with argparse, run with the values of a grid; it does not know gpujob."""

import json

from tests.conftest import Laptop
from tests.e2e.test_jobs import job_number

TRAIN = """import argparse, json, math, os, sys

parser = argparse.ArgumentParser()
parser.add_argument("--lr", type=float, required=True)
parser.add_argument("--weight-decay", type=float, default=0.0)
parser.add_argument("--model", type=json.loads, default={})
args = parser.parse_args()
weight = args.model["width"] * 1.0
with open("metrics.jsonl", "w") as file:
    for step in range(20):
        weight -= args.lr * (2 * weight + args.weight_decay)
        if abs(weight) > 1e3:
            sys.exit("diverged")
        file.write(json.dumps({"step": step, "loss": weight**2}) + "\\n")
print("lr", os.environ["GPUJOB_GRID_LR"], "task", os.environ["GPUJOB_TASK"], "of", os.environ["GPUJOB_TASKS"])
"""
WORDS = ("train.py", "--lr", "{lr}", "--weight-decay={weight-decay}", "--model", '{"width": 4, "lr": "{layers}"}')


def test_a_script_runs_with_each_combination_its_braces_stay_and_what_failed_runs_again(project: Laptop) -> None:
    project.write("train.py", TRAIN)
    run = project.type("run", "--no-deps", "--grid", "lr=1e-2,0.4,3", "--grid", "weight-decay=0,1", *WORDS)
    assert run.code == 1, run.said
    number = job_number(run.err)
    assert "6 tasks: lr (3) x weight-decay (2)" in run.err
    assert run.err.count("warning") == run.err.count("warning: {layers} is passed as it is") == 1
    rows = [line.split("\t") for line in run.out.splitlines() if line.count("\t") == 7]
    assert [row[:3] + row[4:6] for row in rows] == [
        ["task", "lr", "weight-decay", "state", "exit"],
        ["0", "1e-2", "0", "succeeded", ""],
        ["1", "1e-2", "1", "succeeded", ""],
        ["2", "0.4", "0", "succeeded", ""],
        ["3", "0.4", "1", "succeeded", ""],
        ["4", "3", "0", "failed", "1"],
        ["5", "3", "1", "failed", "1"],
    ]
    best = json.loads(project.type("tasks", str(number), "--sort", "loss", "--json").out)[0]
    assert (best["task"], best["values"]) == (2, {"lr": "0.4", "weight-decay": "0"})
    folder = project.project / f"runs/shared-{number}/files"
    assert (folder / "0.log").read_text() == "lr 1e-2 task 0 of 6\n"
    assert "diverged" in (folder / "4.log").read_text()

    project.write("train.py", TRAIN.replace("1e3", "1e300"))
    again = project.type("rerun", str(number))
    assert again.code == 0, again.said
    assert f"2 of 6 tasks of run shared-{number} did not succeed" in again.err
    log = project.project / f"runs/shared-{job_number(again.err)}/files/5.log"
    assert log.read_text() == "lr 3 task 5 of 6\n"
    assert project.type("rerun", str(job_number(again.err))).code == 2  # nothing is left to run


def test_a_grid_that_is_mistyped_is_refused_before_anything_is_sent(project: Laptop) -> None:
    project.write("train.py", TRAIN)
    for words, said in (
        (("--grid", "lr=1", "train.py", "{lrs}"), "did you mean {lr}?"),
        (("--grid", "lr=1,2", "--array", "0-2", "train.py"), "the grid has 2 combinations, numbered from 0"),
        (("--grid", "lr=1,2", "--interactive", "train.py"), "cannot be used with an array"),
        (("--grid", "lr=token-of-mine", "--secret", "HIDDEN", "train.py"), "--grid lr contains the value of HIDDEN"),
        (("--retries", "2", "train.py"), "--retries is for the tasks of an array"),
        (("--array", "%2", "train.py"), "--array has only a limit"),
    ):
        refused = Laptop(project.home, project.project, {**project.settings, "HIDDEN": "token-of-mine"}).type(
            "run", *words
        )
        assert (refused.code, said in refused.err) == (2, True), refused.said
