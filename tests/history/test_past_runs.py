"""The runs of a project, listed from what was downloaded, with the metrics of each."""

import json

import pytest

from infra.history.metrics import last_metrics, read_metrics, read_pairs
from infra.history.runs import read_run
from tests.here import move_in, type_here
from tests.history.past import record


@pytest.fixture
def project(tmp_path, monkeypatch):
    return move_in(tmp_path, monkeypatch)


def metrics_of(project, files, log=""):
    return read_metrics(read_run(record(project, 1, files, log=log)))


METRICS = [
    ("metrics.csv", "epoch,loss,acc\n1,0.5,0.8\n2,0.25,0.9\n", {"loss": 0.25, "acc": 0.9}),
    ("out/metrics.jsonl", '{"epoch": 1, "loss": 0.5}\n{"epoch": 2, "loss": 0.25}\n{"ep', {"loss": 0.25}),
    ("history.json", '{"loss": [0.5, 0.25], "acc": [0.1]}', {"loss": 0.25, "acc": 0.1}),
    ("history.json", '[{"loss": 1, "note": "warm"}, {"loss": NaN}]', {"loss": 1.0}),
    ("metrics.json", '{"accuracy": 0.9, "nested": {"x": 1}, "ok": true}', {"accuracy": 0.9}),
]
LOGS = [
    ("epoch 1 loss 0.333 accuracy 0.91\n", {"loss": 0.333, "accuracy": 0.91}),
    ("epoch 1: loss=0.5, acc: 91.2%\nloss=2.5e-3\n", {"loss": 0.0025, "acc": 91.2}),
    ("{'loss': 0.5, \"lr\": 1e-4}\n", {"loss": 0.5, "lr": 1e-4}),
    ("10%|#  | loss=0.9\r20%|## | loss=0.8\n", {"loss": 0.8}),
    ("took 3.2 s; read 4 files; used 1.5 GB; version 2.1.0\n", {}),
    ("test accuracy 0.9123.\n", {"accuracy": 0.9123}),
]


@pytest.mark.parametrize(("name", "text", "last"), METRICS)
def test_metrics_come_from_a_metrics_file(project, name, text, last):
    assert last_metrics(metrics_of(project, {name: text}, "loss 9.9")) == last


@pytest.mark.parametrize(("log", "last"), LOGS)
def test_metrics_come_from_the_log_if_there_is_no_file(project, log, last):
    assert last_metrics(metrics_of(project, {}, log)) == last


@pytest.mark.parametrize(
    "text", ["", "[" * 100_000, "\0\xff", "loss\n" + "9" * 6000, '{"\x1b[31m": 1.5, "loss": 1e999}']
)
def test_a_metrics_file_that_is_none_leaves_the_log(project, text):
    for name in ("metrics.csv", "metrics.json", "metrics.jsonl"):
        assert last_metrics(metrics_of(project, {name: text}, "loss 0.5")) == {"loss": 0.5}


def test_a_metrics_file_is_read_through_no_link(project):
    home = record(project, 1, {"metrics.csv": "loss\n0.5\n"})
    (project / "mine.csv").write_text("loss\n0.1\n")
    (home / "files/metrics.csv").unlink()
    (home / "files/metrics.csv").symlink_to(project / "mine.csv")
    assert read_metrics(read_run(home)) == {}


def test_runs_are_listed_side_by_side_and_sorted_by_any_column(project):
    record(project, 1, {"metrics.csv": "loss\n0.5\n"}, name="small")
    record(project, 2, log="loss 0.25 accuracy 0.9\n", seconds=60.0)
    record(project, 3, exit_code=1, state="failed")
    rows = [line.split("\t") for line in type_here("runs").out.splitlines()]
    assert rows[0] == ["run", "name", "command", "started", "duration", "exit", "cost", "loss", "accuracy"]
    assert [[row[at] for at in (0, 1, 2, 4, 5, 6, 7, 8)] for row in rows[1:]] == [
        ["1", "small", "python train.py", "1 h", "0", "$1.00", "0.5", ""],
        ["2", "", "python train.py", "1 min", "0", "$0.02", "0.25", "0.9"],
        ["3", "", "python train.py", "1 h", "1", "$1.00", "", ""],
    ]

    def order(column):
        return [row["number"] for row in json.loads(type_here("runs", "--json", "--sort", column).out)]

    assert (order("loss"), order("-loss"), order("-run")) == ([2, 1, 3], [1, 2, 3], [3, 2, 1])
    assert order("duration")[0] == 2
    [first, *_] = json.loads(type_here("runs", "--json").out)
    assert (first["metrics"], first["command"], first["usd"]) == ({"loss": 0.5}, ["python", "train.py"], 1.0)
    refused = type_here("runs", "--sort", "los")
    assert (refused.code, "no column 'los'; available: run, name," in refused.err) == (2, True)
    assert "gpujob runs --sort loss" in refused.err


def test_runs_of_several_clusters_are_named_with_them_and_dry_runs_say_that_they_cost_nothing(project):
    record(project, 1, cluster={"name": "other"})
    assert "dry runs" not in type_here("runs").err
    record(project, 1, cluster={"cloud": "local"})
    listed = type_here("runs")
    assert sorted(line.split("\t")[0] for line in listed.out.splitlines()) == ["other-1", "project-1", "run"]
    assert "dry runs cost nothing" in listed.err


def test_a_folder_that_is_no_run_is_left_out(project):
    assert "no runs yet" in type_here("runs").err
    record(project, 1)
    (record(project, 2) / "receipt.json").write_text('{"job": {"number": "\x1b[31m"}}')
    (project / "runs/mine-1").mkdir()
    assert [row["number"] for row in json.loads(type_here("runs", "--json").out)] == [1]


def test_the_source_in_a_traceback_has_no_metrics():
    assert read_pairs("    rate = float(sys.argv[1]) if len(sys.argv) > 1 else 0.1") == {}
    assert read_pairs("loss 0.5 else 0.1") == {"loss": "0.5"}


def test_notes_and_leaderboard_scores_stand_beside_their_runs(project):
    record(project, 1, log="loss 0.5\n")
    record(project, 2, log="loss 0.25\n")
    assert "note" not in type_here("runs").out
    (project / "runs/notes.csv").write_text("run,note,leaderboard\nproject-2,confuses shirts,0.812\nproject-9,,\n")
    rows = [line.split("\t") for line in type_here("runs").out.splitlines()]
    assert [row[7:] for row in rows] == [
        ["loss", "leaderboard", "note"],
        ["0.5", "", ""],
        ["0.25", "0.812", "confuses shirts"],
    ]
    found = json.loads(type_here("runs", "--json", "--sort=-leaderboard").out)
    assert [(row["number"], row["leaderboard"], row["note"]) for row in found] == [
        (2, 0.812, "confuses shirts"),
        (1, None, ""),
    ]


@pytest.mark.parametrize(
    "text", ["", "run\n", "\0", "note,run\n\x1b[31m", 'run,note,leaderboard\nproject-1,x,1e999\n"']
)
def test_notes_that_cannot_be_read_stop_no_listing(project, text):
    record(project, 1, log="loss 0.5\n")
    (project / "runs/notes.csv").write_text(text)
    assert "0.5" in type_here("runs").out


def test_notes_are_read_through_no_link(project):
    record(project, 1, log="loss 0.5\n")
    (project / "mine.csv").write_text("run,note,leaderboard\nproject-1,secret,\n")
    (project / "runs/notes.csv").symlink_to(project / "mine.csv")
    assert "secret" not in type_here("runs").out
