"""The board: what each attempt changed, what came of it, what it cost, and what a person noted."""

import csv
import json
from pathlib import Path

import pytest
from conftest import settings
from PIL import Image

from jobs import board, train
from jobs.attempts import list_attempts, read_notes
from jobs.scores.intervals import wilson
from tests.history.past import record

BASE = {
    "program": "jobs.train",
    "model": "small",
    "data": "photos",
    "size": 128,
    "flip": False,
    "lr": 0.01,
    "seed": 0,
    "test_images": 200,
    "train_images": 800,
    "precision": "float32",
}


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """Four runs that gpujob downloaded, and one that failed."""
    tries = (
        {"test_accuracy": 0.8},
        {"test_accuracy": 0.85, "model": "resnet34", "lr": 0.002, "program": "jobs.finetune"},
        {
            "test_accuracy": 0.84,
            "model": "resnet34",
            "lr": 0.002,
            "program": "jobs.finetune",
            "flip": True,
            "size": 224,
        },
        {"test_accuracy": 0.9, "model": "resnet34", "lr": 0.002, "program": "jobs.finetune", "train_images": 900},
    )
    for number, changes in enumerate(tries, 1):
        facts = {**BASE, "started": f"2026-03-{number:02} 12:00:00+00:00", "precision": f"{number}", **changes}
        record(tmp_path, number, {"outputs/args.json": json.dumps(facts)}, name=f"try {number}")
    record(tmp_path, 5, {}, state="failed")
    return tmp_path / "runs"


def test_each_attempt_says_what_it_changed_since_the_best(runs, capsys):
    rows = board.main([str(runs)])
    assert [row.attempt.run for row in rows] == ["project-1", "project-2", "project-3", "project-4"]
    assert [row.best for row in rows] == [True, True, False, True]
    assert [list(row.changes) for row in rows] == [
        [],
        ["jobs.finetune (jobs.train)", "--model resnet34 (small)", "--lr 0.002 (0.01)"],
        ["--size 224 (128)", "--flip"],
        ["900 training images (800)"],
    ]
    lines = capsys.readouterr().out.splitlines()
    found = wilson(0.85, 200)
    assert "01 Mar" in lines[1]
    assert f"85.0%  {found.low:.1%} to {found.high:.1%}" in lines[2]
    assert "$1.00" in lines[2]
    assert lines[2].startswith("*")
    assert not lines[3].startswith("*")
    assert "4 attempts, $4.00 together" in lines[5]


def test_notes_and_leaderboard_scores_are_kept_in_a_table(runs, capsys):
    board.main([str(runs), "--note", "2=confuses shirts, always", "--leaderboard", "project-2=0.812"])
    board.main([str(runs), "--leaderboard", "try 3=0.8", "--note", f"{runs}/project-4=keep=this"])
    table = list(csv.DictReader((runs / "notes.csv").open()))
    assert table == [
        {"run": "project-2", "note": "confuses shirts, always", "leaderboard": "0.812"},
        {"run": "project-3", "note": "", "leaderboard": "0.8"},
        {"run": "project-4", "note": "keep=this", "leaderboard": ""},
    ]
    said = capsys.readouterr().out
    assert "0.812" in said
    assert "; confuses shirts, always" in said
    board.main([str(runs), "--note", "2=", "--leaderboard", "2="])
    assert "project-2" not in read_notes(runs)


def test_a_score_from_other_test_images_says_so(runs):
    facts = {**BASE, "started": "2026-04-01 12:00:00+00:00", "test_accuracy": 0.95, "seed": 1}
    record(runs.parent, 6, {"outputs/args.json": json.dumps(facts)})
    assert board.main([str(runs)])[-1].changes[-1] == "tested on other images"


def test_the_code_is_compared_too(runs):
    facts = {**BASE, "started": "2026-04-01 12:00:00+00:00", "test_accuracy": 0.9, "commit": "abc"}
    record(runs.parent, 6, {"outputs/args.json": json.dumps(facts)})
    assert "code" in board.main([str(runs)])[-1].changes


def test_of_an_error_less_is_better_and_other_scores_are_left_out(runs, capsys):
    for number, error in ((6, 3.5), (7, 2.25), (8, 4.0)):
        facts = {**BASE, "started": f"2026-04-{number:02} 12:00:00+00:00", "test_MAE": error, "test_RMSE": 9.0}
        record(runs.parent, number, {"outputs/args.json": json.dumps(facts)})
    rows = board.main([str(runs)])
    assert [(row.attempt.score.value, row.best) for row in rows] == [(3.5, True), (2.25, True), (4.0, False)]
    said = capsys.readouterr().out
    assert "4 attempts with another score (accuracy) not shown" in said
    assert "MAE" in said.splitlines()[1]


def test_what_is_asked_wrongly_changes_nothing(runs):
    record(runs.parent, 2, {"outputs/args.json": json.dumps({**BASE, "test_accuracy": 0.5})}, cluster={"name": "other"})
    for words, reason in (
        (["--note", "9=x"], "9: no such run; there are .*project-1"),
        (["--note", "2=x"], "2: several runs have this number; there are other-2, project-2"),
        (["--note", "text"], "expected RUN=TEXT"),
        (["--leaderboard", "1=high"], "--leaderboard: 'high' is not a number"),
        (["--leaderboard", "1=nan"], "'nan' is not a number"),
    ):
        with pytest.raises(SystemExit, match=reason):
            board.main([str(runs), "--note", "1=before", *words])
    assert not (runs / "notes.csv").exists()
    (runs / "notes.csv").write_text("name\nmine\n")
    with pytest.raises(SystemExit, match=r"notes.csv: expected the columns run, note, leaderboard"):
        board.main([str(runs), "--note", "1=x"])
    assert (runs / "notes.csv").read_text() == "name\nmine\n"


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{", '{"test_accuracy": "high"}', '{"test_accuracy": NaN}', '{"test_accuracy": true}', "[" * 9999],
)
def test_a_damaged_record_is_left_out(runs, text):
    record(runs.parent, 7, {"outputs/args.json": text})
    assert len(list_attempts(runs)) == 4


def test_a_run_of_this_computer_counts_and_its_interval_is_that_of_its_test_images(few_files, tmp_path, capsys):
    accuracy = train.run(settings(tmp_path / "runs/mine", data=few_files))
    capsys.readouterr()
    (row,) = board.main([str(tmp_path / "runs"), "--json"])
    assert (row.attempt.score.value, row.attempt.usd) == (accuracy, None)
    assert row.attempt.score == wilson(accuracy, 100)
    (shown,) = json.loads(capsys.readouterr().out)
    assert shown["interval"] == [row.attempt.score.low, row.attempt.score.high]


def test_the_best_so_far_is_drawn(runs, tmp_path):
    board.main([str(runs), "--leaderboard", "2=0.81", "--out", str(tmp_path / "curve.png")])
    with Image.open(tmp_path / "curve.png") as image:
        colours = {colour for _, colour in image.convert("RGB").getcolors(1 << 20)}
    assert {(0x2A, 0x6F, 0xBB), (0xD9, 0x82, 0x2B)} <= colours


def test_where_there_is_nothing_it_says_so(tmp_path, capsys):
    (tmp_path / "runs").mkdir()
    assert board.main([str(tmp_path / "runs")]) == []
    assert "no run there has trained a model" in capsys.readouterr().out
    with pytest.raises(SystemExit, match="no such folder"):
        board.main([str(tmp_path / "none")])
