"""Several labels for each image, and numbers: read, learned, measured, predicted, handed in and exported."""

import csv
import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from conftest import PINNED, same
from hypothesis import given
from hypothesis import settings as limits
from hypothesis import strategies as st
from PIL import Image
from sklearn.metrics import average_precision_score, f1_score, mean_absolute_error, r2_score

from jobs import clean, compare, ensemble, export, finetune, interpret, predict, show, submit, train, validate
from jobs.config.data import DataConfig
from jobs.config.recipe import Recipe
from jobs.data import Dataset, load
from jobs.errors import DataError, TrainingError
from jobs.images.labels import Columns, list_csv
from jobs.images.listing import split_labels
from jobs.models.modelfile import load_model
from jobs.scores.labels import f1_scores, measure_labels
from jobs.scores.numbers import measure_numbers
from jobs.scores.ranking import average_precision
from jobs.tasks import check_request, find_task, fit_task
from jobs.training.evaluation import predict as answer

TAGS = ("zero", "one", "two", "three")
COUNT = 360


@pytest.fixture(scope="session")
def pasted(digits: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Images with one to three real digits in four corners, and tables: which there are, and how far right the leftmost is.

    tags.csv has them in one cell, as Kaggle's planet data; columns.csv in columns of 0 and 1; places.csv is a number.
    """
    folder = tmp_path_factory.mktemp("pasted")
    draw = torch.Generator().manual_seed(0)
    known = [(digits.train.labels == at).nonzero().flatten() for at in range(len(TAGS))]
    rows = []
    for number in range(COUNT):
        image = Image.new("L", (20, 16))
        corners = torch.randperm(4, generator=draw)[: 1 + number % 3].tolist()
        left, present = 2000, set()
        for corner in corners:
            label = int(torch.randint(len(TAGS), (1,), generator=draw))
            which = int(known[label][int(torch.randint(len(known[label]), (1,), generator=draw))])
            x = corner % 2 * 10 + int(torch.randint(3, (1,), generator=draw))
            image.paste(Image.fromarray(digits.train.images[which, 0].numpy()), (x, corner // 2 * 8))
            left, present = min(left, 1000 + 10 * x), present | {TAGS[label]}
        image.save(folder / f"{number}.png")
        rows.append((number, [tag for tag in TAGS if tag in present], left))
    for name, header, cells in (
        ("tags", ["image", "tags"], lambda row: [" ".join(row[1])]),
        ("columns", ["image", *TAGS], lambda row: [int(tag in row[1]) for tag in TAGS]),
        ("places", ["image", "place"], lambda row: [row[2]]),
    ):
        with (folder / f"{name}.csv").open("w", newline="") as text:
            csv.writer(text).writerows([header, *([row[0], *cells(row)] for row in rows)])
    return folder


def words(folder: Path, table: str, *more: str) -> list[str]:
    return ["--data", str(folder / f"{table}.csv"), "--size", "16", "--resize", "squish", *PINNED, *more]


@pytest.fixture(scope="session")
def tagged(pasted: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run of a model that names all digits in an image."""
    out = tmp_path_factory.mktemp("tagged") / "outputs"
    train.main(words(pasted, "tags", "--multi-label", "--epochs", "7", "--batch-size", "32", "--out", str(out)))
    return out


@pytest.fixture(scope="session")
def placed(pasted: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run of a model that says how far right the leftmost digit is."""
    out = tmp_path_factory.mktemp("placed") / "outputs"
    train.main(words(pasted, "places", "--regression", "--epochs", "7", "--batch-size", "32", "--out", str(out)))
    return out


def kept(run: Path) -> dict[str, object]:
    found: dict[str, object] = json.loads((run / "args.json").read_text())
    return found


def test_several_labels_are_learned_and_measured(tagged, capsys):
    run, (*_, last) = kept(tagged), map(json.loads, (tagged / "metrics.jsonl").read_text().splitlines())
    assert run["task"] == "multi-label"
    assert run["test_mAP"] == last["mAP"] > 0.85
    assert run["test_F1"] == last["F1"]
    assert "accuracy" not in last
    figures = validate.main([str(tagged)])
    assert figures["mAP"] == pytest.approx(run["test_mAP"])
    assert figures["f1"] == pytest.approx(run["test_F1"])
    assert figures["mAP"] > figures["baseline_mAP"] + 0.3
    assert [row["class"] for row in figures["classes"]] == sorted(TAGS)
    said = capsys.readouterr().out
    assert "mAP" in said
    assert "furthest off:" in said
    few, many = (validate.main([str(tagged), "--threshold", each])["classes"][0]["recall"] for each in ("0.95", "0.05"))
    assert few < many


def test_columns_of_0_and_1_are_the_same_labels_as_several_in_a_cell(pasted):
    tags, columns, chosen = (
        load(DataConfig(str(pasted / f"{name}.csv"), label=label, multi_label=True, size=16))
        for name, label in (("tags", None), ("columns", None), ("columns", "two,three"))
    )
    assert tags.classes == tuple(sorted(TAGS))
    order = [columns.classes.index(name) for name in tags.classes]
    assert torch.equal(tags.train.labels, columns.train.labels[:, order])
    assert set(chosen.classes) == {"two", "three"}
    places = [columns.classes.index(name) for name in chosen.classes]
    assert torch.equal(chosen.test.labels, columns.test.labels[:, places])
    assert not chosen.train.labels.sum(dim=1).all(), "an image may have none of them"
    assert DataConfig("x.csv", label_separator="|").task == "multi-label"


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("three")
    for name in "abc":
        Image.new("L", (4, 4)).save(folder / f"{name}.png")
    return folder


def read(folder: Path, rows: str, task: str, separator: str | None = None, label: str | None = None) -> list[list[str]]:
    """Return each image's labels in a table, whose header is name,tags unless it has its own."""
    (folder / "t.csv").write_text(rows if rows.startswith("name") else f"name,tags\n{rows}")
    listing, _ = list_csv(folder / "t.csv", None, Columns(label, task=task, separator=separator), strict=False)
    return [split_labels(word) for word in listing.labels]


@pytest.mark.parametrize(
    ("rows", "separator", "found"),
    [
        ("a,cat|dog\nb,main coon\nc,dog|cat|dog\n", None, [["cat", "dog"], ["main coon"], ["cat", "dog"]]),
        ("a,cat dog\nb,dog\nc,bird dog\n", None, [["cat", "dog"], ["dog"], ["bird", "dog"]]),
        ('a,"cat, dog"\nb,dog\nc,"bird, dog"\n', None, [["cat", "dog"], ["dog"], ["bird", "dog"]]),
        ("""a,"['cat', 'dog']"\nb,['dog']\nc,[]\n""", None, [["cat", "dog"], ["dog"], []]),
        ("a,cat+dog\nb,dog\nc,dog\n", "+", [["cat", "dog"], ["dog"], ["dog"]]),
        ("a,cat|dog\nb,nan\nc,\n", None, [["cat", "dog"]]),
        ("name,x,y\na,1,1\nb,0,0\nc,0.0,1.0\n", None, [["x", "y"], [], ["y"]]),
        ("name,size,x,y\na,7,1,1\nb,8,0,0\nc,9,0,1\n", "columns", [["x", "y"], [], ["y"]]),
    ],
)
def test_labels_are_read_however_they_are_written(three, rows, separator, found, capsys):
    columns = separator == "columns"
    assert read(three, rows, "multi-label", None if columns else separator, "x,y" if columns else None) == found
    if "|" in rows:
        assert "'|' is between the labels of 'tags': cat, dog" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("rows", "task", "why"),
    [
        ("a,golden retriever\nb,black labrador\n", "multi-label", "no cell of 'tags' has several labels; --label-sep"),
        ("a,cat|dog\na,cat\n", "multi-label", "several rows for one image, with different labels: a; put all"),
        ("name,x,y\na,1,1\nb,0,0\n", "single-label", "row 1 has 2 of the classes x, y; --multi-label"),
        ("a,cat\nb,dog\nc,cat|dog\n", "single-label", "several classes in one cell.*; --multi-label learns"),
        ("a,1.5\nb,tall\n", "regression", "'tags' is a number for each image, not 'tall'"),
        ("a,1.5\nb,inf\n", "regression", "'tags' is a number for each image, not 'inf'"),
    ],
)
def test_what_fits_no_task_is_refused_in_one_line(three, rows, task, why):
    with pytest.raises(DataError, match=why):
        read(three, rows, task)


def test_columns_that_are_not_0_and_1_are_no_labels(three):
    with pytest.raises(DataError, match="'size' is 0 or 1 for each image, not '7'"):
        read(three, "name,size,x\na,7,1\nb,8,0\n", "multi-label", None, "size,x")


def test_tasks_need_what_they_predict(photos, tmp_path):
    for config, why in (
        (DataConfig("digits", multi_label=True), "one class for each image; --multi-label is for CSV files"),
        (DataConfig(str(photos), multi_label=True), "--multi-label is for a CSV file of labels"),
        (DataConfig(str(photos), regression=True), "'is 0' is not a number, which --regression needs"),
        (DataConfig(str(photos), regression=True, label_from=r"^(\d)\d*\.png"), None),
        (DataConfig(str(photos), regression=True, multi_label=True), "cannot be combined with --multi-label"),
        (DataConfig(str(photos), regression=True, label_from="(p)ng"), "'p' is not a number"),
    ):
        if why:
            with pytest.raises(DataError, match=why):
                load(config)
        else:
            assert load(config).train.labels.unique().tolist() == list(range(10))
    for name in "abcdefgh":
        Image.new("L", (8, 8)).save(tmp_path / f"{name}.png")
    (tmp_path / "t.csv").write_text("name,age\n" + "".join(f"{name},7\n" for name in "abcdefgh"))
    with pytest.raises(DataError, match="have the number 7: there is nothing to learn"):
        load(DataConfig(str(tmp_path / "t.csv"), regression=True))
    for model, recipe, why in (
        ("majority", Recipe(), "for one class for each image; for regression, try --model linear"),
        ("small", Recipe(class_weights=True), "--class-weights is for classes"),
        ("small", Recipe(cutmix=1.0), "--cutmix is for classes"),
    ):
        with pytest.raises(TrainingError, match=why):
            check_request("regression", model, recipe)


@limits(deadline=None, max_examples=8)
@given(st.integers(0, 10_000))
def test_the_figures_are_those_of_scikit_learn(seed):
    draw = torch.Generator().manual_seed(seed)
    chances = (torch.rand(30, 4, generator=draw) * 8).round() / 8  # many equal ones
    truth = (torch.rand(30, 4, generator=draw) < 0.4).float()
    for at in range(4):
        if truth[:, at].any():
            wanted = average_precision_score(truth[:, at], chances[:, at])
            assert average_precision(chances[:, at], truth[:, at] > 0) == pytest.approx(wanted)
    found = [each for each in f1_scores(chances, truth, 0.5) if not math.isnan(each)]
    wanted = [
        each for each, some in zip(f1_score(truth, chances >= 0.5, average=None), truth.any(dim=0), strict=True) if some
    ]
    assert found == pytest.approx(wanted)
    micro = measure_labels(chances, truth, TAGS, 0.5)["f1_micro"]
    assert micro == pytest.approx(f1_score(truth, chances >= 0.5, average="micro"))
    said, true = torch.randn(30, generator=draw), torch.randn(30, generator=draw)
    figures = measure_numbers(said, true, 0.0)
    assert figures["mae"] == pytest.approx(mean_absolute_error(true, said))
    assert figures["r2"] == pytest.approx(r2_score(true, said), abs=1e-5)
    assert figures["interval"][0] <= figures["mae"] <= figures["interval"][1]


def test_rare_labels_weigh_more_and_the_loss_of_a_number_has_no_unit():
    several = find_task("multi-label")
    labels = torch.tensor([[1.0, 0], [0, 0], [0, 0], [1, 1]])
    assert several.weigh(labels, 2).tolist() == [1, 3]
    outputs = torch.zeros(4, 2)
    assert several.loss(outputs, labels, several.weigh(labels, 2), 0.0) > several.loss(outputs, labels, None, 0.0)
    ages = torch.tensor([[20.0], [40], [60]])
    years, months = fit_task("regression", ages), fit_task("regression", ages * 12)
    assert (years.centre, months.centre) == (40, 480)
    outputs = torch.tensor([[0.5], [0.0], [-3.0]])
    assert torch.allclose(years.loss(outputs, ages, None, 0.1), months.loss(outputs, ages * 12, None, 0.1))
    assert years.score({"MAE": 2.0}) > years.score({"MAE": 3.0})


def test_labels_are_predicted_from_a_threshold_on(tagged, pasted, tmp_path, capsys):
    model, facts = load_model(tagged)
    assert (facts.task.name, facts.classes) == ("multi-label", tuple(sorted(TAGS)))
    with (pasted / "tags.csv").open() as text:
        truth = {row["image"]: set(row["tags"].split()) for row in csv.DictReader(text)}
    files = [pasted / f"{at}.png" for at in range(30)]
    predict.main([str(tagged), *map(str, files), "--json", "--out", str(tmp_path / "p.csv")])
    found = json.loads(capsys.readouterr().out)
    right = [{each["class"] for each in row["labels"]} == truth[Path(row["file"]).stem] for row in found]
    assert sum(right) > 20
    assert all(each["probability"] >= 0.5 for row in found for each in row["labels"])
    with (tmp_path / "p.csv").open() as text:
        rows = list(csv.DictReader(text))
    assert [set(filter(None, row["labels"].split("|"))) for row in rows] == [
        {each["class"] for each in row["labels"]} for row in found
    ]
    predict.main([str(tagged), str(files[0]), "--top", "2"])
    assert capsys.readouterr().out.count("%") == 2
    predict.main([str(tagged), str(files[0]), "--threshold", "1"])
    assert capsys.readouterr().out == "no label\n"
    assert not model.training


def test_a_number_is_learned_in_its_unit(placed, pasted, capsys):
    run = kept(placed)
    figures = validate.main([str(placed)])
    assert run["test_MAE"] == pytest.approx(figures["mae"])
    assert run["test_RMSE"] == pytest.approx(figures["rmse"])
    assert figures["mae"] < figures["baseline_mae"] / 2
    assert figures["target"] == "place"
    assert "by always predicting the mean of the training images" in capsys.readouterr().out
    _, facts = load_model(placed)
    assert 1000 < facts.task.centre < 1120
    assert facts.accuracy == run["test_MAE"]
    predict.main([str(placed), str(pasted / "1.png"), "--json"])
    (row,) = json.loads(capsys.readouterr().out)
    assert 900 < row["value"] < 1200
    assert row["target"] == "place"
    for asked, why in (
        (["--top", "2"], "--top is for classes"),
        (["--threshold", "0.3"], "--threshold is for models of"),
    ):
        with pytest.raises(SystemExit, match=why):
            predict.main([str(placed), str(pasted / "1.png"), *asked])


def test_a_submission_has_labels_or_a_number_as_its_sample_has(tagged, placed, pasted, tmp_path):
    def fill(run: Path, sample: str, *more: str) -> list[list[str]]:
        (tmp_path / "sample.csv").write_text(sample)
        out = tmp_path / "s.csv"
        submit.main([str(run), str(tmp_path / "sample.csv"), str(pasted), "--out", str(out), *more])
        return [line.split(",") for line in out.read_text().splitlines()]

    for mark in (" ", "|"):
        header, *rows = fill(tagged, f"image,tags\n3,one{mark}two\n5,one\n")
        assert header == ["image", "tags"]
        assert all(set(tags.split(mark)) <= {*TAGS, ""} for _, tags in rows)
    everything = fill(tagged, "image,tags\n3,one two\n5,one\n", "--threshold", "0.000001")
    assert everything[1] == ["3", " ".join(sorted(TAGS))]
    header, *rows = fill(tagged, "image,two,one,zero,three\n3,0,0,0,0\n5,0,0,0,0\n")
    assert all(0 <= float(cell) <= 1 for row in rows for cell in row[1:])
    _, (_, number), *_ = fill(placed, "image,place\n3,0\n5,0\n")
    assert 900 < float(number) < 1200
    for run, sample, why in (
        (placed, "image,a,b\n3,0,0\n", "predicts one number, place"),
        (tagged, "image,one,two\n3,0,0\n", "columns and the model's classes differ: three, zero"),
    ):
        with pytest.raises(SystemExit, match=why):
            fill(run, sample)


@pytest.mark.filterwarnings("ignore:.*deprecated")
def test_an_exported_model_returns_answers(tagged, placed, tmp_path):
    images = torch.randint(256, (3, 1, 16, 16), dtype=torch.uint8)
    out = export.main([str(placed), "--to", "torchscript", "--out", str(tmp_path / "m.pt")])
    values = torch.jit.load(str(out))(images)
    assert 800 < values.min() < values.max() < 1300
    pytest.importorskip("onnxscript")
    import onnxruntime

    out = export.main([str(tagged), "--to", "onnx", "--out", str(tmp_path / "m.onnx")])
    session = onnxruntime.InferenceSession(str(out), providers=["CPUExecutionProvider"])
    assert [each.name for each in session.get_outputs()] == ["probabilities"]
    facts = session.get_modelmeta().custom_metadata_map
    assert (facts["task"], json.loads(facts["classes"])) == ("multi-label", sorted(TAGS))
    with torch.no_grad():
        wanted = load_model(tagged)[0](images).sigmoid()
    assert torch.allclose(torch.from_numpy(session.run(None, {"images": images.numpy()})[0]), wanted, atol=1e-4)


def test_programs_for_classes_say_so(tagged, placed, pasted, tmp_path):
    for run, task in ((tagged, "multi-label"), (placed, "regression")):
        for program, more in ((interpret, []), (interpret, [str(pasted / "1.png")]), (clean, [])):
            with pytest.raises(SystemExit, match=f"is for one class for each image, and this model's task is {task}"):
                program.main([str(run), *more, "--out", str(tmp_path)])
        with pytest.raises(SystemExit, match="--against compares accuracies"):
            validate.main([str(run), "--against", str(run)])
    with pytest.raises(SystemExit, match="--demo is for one class for each image"):
        export.main([str(tagged), "--demo"])
    with pytest.raises(SystemExit, match="ensemble is for one class for each image"):
        ensemble.main([str(tagged), str(placed)])
    with pytest.raises(SystemExit, match="--folds is for one class for each image, not for --regression"):
        train.main(words(pasted, "places", "--regression", "--folds", "3", "--out", str(tmp_path / "folds")))
    with pytest.raises(SystemExit, match="is for one class for each image"):
        compare.main(["--data", str(pasted / "tags.csv"), "--multi-label"])
    with pytest.raises(SystemExit):
        predict.main([str(tagged), "--threshold", "2", "x.png"])


def test_several_labels_are_fine_tuned_mixed_and_resumed_bit_for_bit(trained, pasted, tmp_path):
    more = ["--multi-label", "--mixup", "0.4", "--class-weights", "--batch-size", "64", "--schedule", "constant"]
    more += ["--weights", str(trained / "model.safetensors"), "--model", "small"]
    for out, epochs, resume in (("whole", "2", ""), ("parts", "1", ""), ("parts", "2", "auto")):
        asked = [*words(pasted, "columns", *more), "--epochs", epochs, "--resume", resume, "--out", str(tmp_path / out)]
        finetune.main(asked)
    assert same(tmp_path / "whole", tmp_path / "parts")
    with pytest.raises(SystemExit, match="the checkpoint was made for multi-label, not for single-label"):
        single = [
            *words(pasted, "places", *more[1:]),
            "--epochs",
            "3",
            "--resume",
            "auto",
            "--out",
            str(tmp_path / "parts"),
        ]
        finetune.main(single)


def test_a_kept_head_belongs_to_the_same_task(tagged, pasted, tmp_path, capsys):
    file = ["--weights", str(tagged / "model.safetensors"), "--epochs", "1", "--out", str(tmp_path / "out")]
    train.main(words(pasted, "tags", "--multi-label", *file))
    assert "loaded, with last layer" in capsys.readouterr().out
    model, facts = load_model(tagged)
    other = replace(facts, task=find_task("single-label"))
    from jobs.models.modelfile import save_model

    save_model(tmp_path / "single.safetensors", model, other)
    file[1] = str(tmp_path / "single.safetensors")
    train.main(words(pasted, "tags", "--multi-label", *file))
    assert "loaded, and a new last layer" in capsys.readouterr().out


def test_stopping_early_keeps_the_epoch_with_the_smallest_error(pasted, tmp_path):
    out = tmp_path / "out"
    more = ["--regression", "--early-stop", "1", "--epochs", "12", "--lr", "0.05", "--schedule", "constant"]
    train.main(words(pasted, "places", *more, "--batch-size", "32", "--out", str(out)))
    errors = [json.loads(line)["MAE"] for line in (out / "metrics.jsonl").read_text().splitlines()]
    assert errors[-1] >= min(errors[:-1]), "it ended because an epoch was no better"
    assert len(errors) < 12
    _, facts = load_model(out)
    assert kept(out)["test_MAE"] == facts.accuracy


def test_labels_that_are_only_tested_are_named(three, capsys):
    (three / "u.csv").write_text("name,tags,is_valid\na,cat|dog,0\nb,cat,0\nc,cat|bird,1\n")
    load(DataConfig(str(three / "u.csv"), multi_label=True), classes=("bird", "cat", "dog"))
    assert "1 label without training images, which will not be learned: bird" in capsys.readouterr().out


def test_images_of_several_labels_are_shown(pasted, tmp_path):
    with Image.open(
        show.main([*words(pasted, "tags")[:6], "--multi-label", "--out", str(tmp_path / "a.png")])
    ) as image:
        assert image.size[0] > 500


def test_a_model_is_measured_on_another_table_as_on_its_own(tagged, pasted, tmp_path):
    rows = (pasted / "columns.csv").read_text().splitlines()
    (tmp_path / "some.csv").write_text("\n".join([rows[0], *rows[200:260]]) + "\n")
    figures = validate.main([str(tagged), "--data", str(tmp_path / "some.csv"), "--images", str(pasted)])
    assert 0 < figures["images"] < 30, "without those that it was trained on"
    assert figures["mAP"] > 0.85
    model, facts = load_model(tagged)
    data = load(
        DataConfig(str(tmp_path / "some.csv"), pasted, multi_label=True, size=16, resize="squish"),
        classes=facts.classes,
    )
    assert answer(model, data.test).max() <= 1
