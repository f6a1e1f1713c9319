"""Figures of a model, what it sees, and the images that it finds odd."""

import csv
import json
import re
import shutil

import pytest
import torch
from hypothesis import given
from hypothesis import settings as limits
from hypothesis import strategies as st
from PIL import Image
from sklearn.metrics import roc_auc_score, top_k_accuracy_score

from jobs import clean, show, validate
from jobs.errors import DataError
from jobs.scores.intervals import mcnemar, paired_difference, wilson
from jobs.scores.ranking import area_under_curve, top_accuracy


@limits(deadline=None, max_examples=30)
@given(st.integers(0, 10_000))
def test_the_area_under_the_curve_and_top_5_are_those_of_scikit_learn(seed):
    draw = torch.Generator().manual_seed(seed)
    scores = (torch.rand(40, generator=draw) * 8).round() / 8  # many equal ones
    positive = torch.rand(40, generator=draw) < 0.4
    if positive.any() and not positive.all():
        assert area_under_curve(scores, positive) == pytest.approx(roc_auc_score(positive, scores))
    chances = torch.rand(40, 8, generator=draw)
    labels = torch.randint(8, (40,), generator=draw)
    wanted = top_k_accuracy_score(labels, chances, k=5, labels=range(8))
    assert top_accuracy(chances, labels, 5) == pytest.approx(wanted)


@pytest.mark.parametrize(
    ("right", "count", "low", "high"),
    [(0, 10, 0.0, 0.2775), (10, 10, 0.7225, 1.0), (5, 10, 0.2366, 0.7634), (90, 100, 0.8256, 0.9448)],
)
def test_wilsons_interval_is_the_published_one_and_within_0_and_1(right, count, low, high):
    found = wilson(right / count, count)
    assert (found.low, found.high) == (pytest.approx(low, abs=1e-4), pytest.approx(high, abs=1e-4))


def test_a_paired_difference_is_surer_than_two_separate_intervals():
    before = [True] * 80 + [False] * 20
    after = [True] * 88 + [False] * 12  # wherever the first is right, the second is too
    gain = paired_difference(before, after)
    assert gain.value == pytest.approx(0.08)
    assert 0 < gain.low < 0.08 < gain.high < 0.2
    assert wilson(0.8, 100).high > wilson(0.88, 100).low
    assert mcnemar(before, after) == pytest.approx(2 * 0.5**8)
    assert mcnemar(before, before) == 1
    assert paired_difference(before, before).high == 0


def test_a_run_is_measured_on_its_own_test_images(trained, tmp_path, capsys):
    figures = validate.main([str(trained), "--out", str(tmp_path / "v.json")])
    kept = json.loads((trained / "args.json").read_text())
    assert figures["accuracy"] == pytest.approx(kept["test_accuracy"])
    low, high = figures["interval"]
    assert 0.9 < low < figures["accuracy"] < high <= 1
    assert figures["top5"] > figures["accuracy"]
    assert 0.99 < figures["auc"] <= 1
    assert sum(row["images"] for row in figures["classes"]) == figures["images"]
    said = capsys.readouterr().out
    assert re.search(r"accuracy +9\d\.\d%  \(95% interval 9\d\.\d% to \d+\.\d%\)", said)
    assert json.loads((tmp_path / "v.json").read_text()) == figures


def test_a_folder_is_measured_as_a_whole(trained, photos, tmp_path, capsys):
    for at in range(3):
        (photos / f"is {at}").rename(photos / str(at))
    figures = validate.main([str(trained), "--data", str(photos), "--json", "--against", str(trained)])
    said = json.loads(capsys.readouterr().out)
    assert said == figures
    assert figures["images"] == 36
    assert [row["images"] for row in figures["classes"]] == [12, 12, 12, *[0] * 7]
    assert figures["classes"][5]["auc"] is None
    assert figures["against"]["gain"] == 0
    assert figures["against"]["p"] == 1


def test_what_the_network_sees_is_drawn_and_no_two_views_are_the_same(photos, tmp_path):
    words = ["--data", str(photos), "--rows", "3", "--columns", "4", "--crop", "2", "--erase", "0.4"]
    with Image.open(show.main([*words, "--out", str(tmp_path / "a.png")])) as image:
        assert image.size == (4 * 96 + 3 * 4, 3 * 96 + 2 * 4)
        views = [image.crop((across * 100, 0, across * 100 + 96, 96)).tobytes() for across in range(4)]
    assert len(set(views)) == 4
    show.main([*words, "--out", str(tmp_path / "b.png")])
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    show.main([*words, "--rand-augment", "9", "--out", str(tmp_path / "b.png")])
    assert (tmp_path / "a.png").read_bytes() != (tmp_path / "b.png").read_bytes()


@pytest.fixture
def odd(trained, photos, tmp_path):
    """A data set in which one 0 lies among the 2s, and where its odd images are listed."""
    for at in range(3):
        (photos / f"is {at}").rename(photos / str(at))
    shutil.move(photos / "0" / "3.png", photos / "2" / "wrong.png")
    return photos, tmp_path / "clean"


def run(trained, odd, *words):
    clean.main([str(trained), "--data", str(odd[0]), "--out", str(odd[1]), *words])
    return odd[1] / "clean.csv"


def fill(path, **actions):
    with path.open(newline="") as text:
        rows = list(csv.DictReader(text))
    for row in rows:
        row["action"] = actions.get(row["file"].rpartition("/")[2].removesuffix(".png"), "")
    with path.open("w", newline="") as text:
        table = csv.DictWriter(text, rows[0])
        table.writeheader()
        table.writerows(rows)
    return rows


def test_a_wrong_label_leads_the_list_and_is_corrected(trained, odd, capsys):
    path = run(trained, odd)
    rows = fill(path, wrong="0")
    assert rows[0]["file"].endswith("2/wrong.png")
    assert (rows[0]["class"], rows[0]["predicted"]) == ("2", "0")
    assert "labelled 2" in (odd[1] / "clean.html").read_text()
    with pytest.raises(SystemExit, match="has actions"):
        run(trained, odd)
    with pytest.raises(SystemExit, match=r"Move 1 image to another class and 0 out of the data\? There is no terminal"):
        run(trained, odd, "--apply")
    assert (odd[0] / "2" / "wrong.png").is_file()
    run(trained, odd, "--apply", "--yes")
    assert (odd[0] / "0" / "wrong.png").is_file()
    assert not path.exists()
    assert (odd[1] / "applied.csv").is_file()


def test_a_deleted_image_is_moved_beside_the_data(trained, odd):
    path = run(trained, odd)
    fill(path, wrong="delete")
    run(trained, odd, "--apply", "--yes")
    assert (odd[0].with_name("photos-removed") / "2" / "wrong.png").is_file()
    assert not (odd[0] / "2" / "wrong.png").exists()


def test_nothing_is_moved_if_one_action_cannot_be_done(trained, odd):
    path = run(trained, odd)
    for actions, reason in (
        ({"wrong": "0", "5": "nine"}, "neither 'delete' nor a class"),
        ({"wrong": "2"}, "already"),
        ({}, "no actions"),
    ):
        fill(path, **actions)
        with pytest.raises(SystemExit, match=reason):
            run(trained, odd, "--apply", "--yes")
    (odd[0] / "0" / "wrong.png").write_text("in the way")
    fill(path, wrong="0")
    with pytest.raises(SystemExit, match="exists already"):
        run(trained, odd, "--apply", "--yes")
    assert (odd[0] / "2" / "wrong.png").is_file()
    with pytest.raises(SystemExit, match="no image files"):
        clean.main([str(trained), "--out", str(odd[1].with_name("other"))])


def test_a_csv_file_may_not_move_what_is_in_no_class_folder(tmp_path):
    from jobs.moves import plan_moves

    (tmp_path / "precious").write_text("")
    (tmp_path / "clean.csv").write_text(f"file,class,action\n{tmp_path}/precious,cat,delete\n")
    with pytest.raises(DataError, match="not in a folder called 'cat'"):
        plan_moves(tmp_path / "clean.csv")
