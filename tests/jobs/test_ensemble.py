"""Several models together: measured on the same images, and asked for a submission."""

import csv
import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from conftest import settings

from jobs import ensemble, predict, submit, train
from jobs.config.data import DataConfig
from jobs.data import load
from jobs.models.modelfile import find_models, load_model
from jobs.training.evaluation import predict as ask


@pytest.fixture(scope="module")
def linear(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Another network for the digits, in a folder as gpujob downloads a job's."""
    run = tmp_path_factory.mktemp("runs") / "stud-2"
    train.run(settings(run / "files" / "outputs"))
    return run


@pytest.fixture(scope="module")
def folds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cross-validation on the digits, which have a test part of their own."""
    out = tmp_path_factory.mktemp("folds")
    asked = settings(out, epochs=1)
    train.run(replace(asked, config=replace(asked.config, folds=2)))
    return out


def chances(path: Path, images: torch.Tensor | None = None) -> torch.Tensor:
    """Return what a model says about the digits' test images."""
    return ask(load_model(path)[0], load(DataConfig("digits")).test)


def test_the_mean_of_two_is_measured_on_the_images_that_neither_was_trained_on(trained, linear, digits, capsys):
    figures = ensemble.main([str(trained), str(linear)])
    both = (chances(trained) + chances(linear / "files/outputs")) / 2
    right = (both.argmax(dim=1) == digits.test.labels).float().mean().item()
    assert figures["images"] == len(digits.test)
    assert figures["mean"]["accuracy"] == pytest.approx(right)
    alone = [json.loads((out / "args.json").read_text()) for out in (trained, linear / "files/outputs")]
    assert [run["accuracy"] for run in figures["runs"]] == [pytest.approx(each["test_accuracy"]) for each in alone]
    loss = torch.nn.functional.nll_loss(both.log(), digits.test.labels).item()
    assert figures["mean"]["loss"] == pytest.approx(loss, abs=1e-4)
    assert figures["gain"] == pytest.approx(right - max(run["accuracy"] for run in figures["runs"]), abs=1e-6)
    said = capsys.readouterr().out
    assert "mean of 2" in said
    assert f"{right:.1%}" in said


def test_the_folds_of_a_run_are_averaged_on_the_test_part_of_its_data(folds, linear, digits):
    figures = ensemble.main([str(folds)])
    both = torch.stack([chances(folds / f"fold-{fold}") for fold in (1, 2)]).mean(dim=0)
    right = (both.argmax(dim=1) == digits.test.labels).float().mean().item()
    assert figures["mean"]["accuracy"] == pytest.approx(right)
    assert figures["images"] == len(digits.test)
    together = ensemble.main([str(folds), str(linear)])
    assert together["runs"][0]["accuracy"] == pytest.approx(right)


def test_of_files_each_image_is_classified_by_the_network_that_has_not_seen_it(photos, tmp_path):
    for name, model in (("a", "mean-image"), ("b", "majority")):
        asked = settings(tmp_path / name, model, photos, lr=None)
        train.run(replace(asked, config=replace(asked.config, folds=3)))
    figures = ensemble.main([str(tmp_path / "a"), str(tmp_path / "b")])
    assert figures["images"] == 36
    for run in figures["runs"]:
        kept = json.loads((Path(run["run"]) / "args.json").read_text())
        assert run["accuracy"] == pytest.approx(kept["test_accuracy"])
    with pytest.raises(SystemExit, match="each of its folds was tested on other images"):
        ensemble.main([str(tmp_path / "a")])


def test_models_that_cannot_be_averaged_are_refused_by_name(trained, linear, photos, tmp_path):
    for seed in (0, 1):
        train.run(settings(tmp_path / f"seed-{seed}", "mean-image", photos, lr=None, seed=seed))
    first, second = tmp_path / "seed-0", tmp_path / "seed-1"
    for runs, reason in (
        ([trained, first], f"^jobs.ensemble: error: {first}: has other classes than {trained}: 0, 1"),
        (
            [first, second],
            rf"{second}: was tested on other images than {first}, such as is \d/\d+.png/\d+.png, which only",
        ),
        ([linear], "one model has nothing to be averaged with"),
        ([linear, linear], "is named twice"),
        ([linear, tmp_path], "no model found"),
    ):
        with pytest.raises(SystemExit, match=reason):
            ensemble.main(list(map(str, runs)))


def rows(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(path.open()))


def test_a_submission_averages_runs_and_their_folds(trained, folds, photos, tmp_path):
    sample = tmp_path / "sample.csv"
    names = ",".join(map(str, range(10)))
    sample.write_text(f"id,{names}\nis 2/3{',0' * 10}\nis 1/4{',0' * 10}\n")
    found = {}
    for name, runs in (("one", [trained]), ("first", [folds / "fold-1"]), ("second", [folds / "fold-2"])):
        found[name] = rows(submit.main([*map(str, runs), str(sample), str(photos), "--out", str(tmp_path / name)]))
    together = rows(submit.main([*map(str, (trained, folds, sample, photos)), "--out", str(tmp_path / "all")]))
    for at, row in enumerate(together):
        for label in map(str, range(10)):
            one, first, second = (float(found[name][at][label]) for name in ("one", "first", "second"))
            assert float(row[label]) == pytest.approx((one + (first + second) / 2) / 2, abs=2e-6)


def test_the_folds_classify_a_single_image_together(folds, photos):
    image = str(photos / "is 2/3.png")
    means = predict.main([str(folds), image]).chances
    alone = [predict.main([str(path), image]).chances for path in find_models(folds)]
    assert torch.allclose(means, torch.stack(alone).mean(dim=0))


def test_a_submission_of_models_with_other_classes_is_refused(trained, photos, tmp_path, monkeypatch):
    train.run(settings(tmp_path / "other", "mean-image", photos, lr=None))
    monkeypatch.setattr("jobs.training.evaluation.predict", lambda *_: pytest.fail("predicted"))
    (tmp_path / "sample.csv").write_text("id,label\nis 2/3,0\n")
    with pytest.raises(SystemExit, match=r"other.model.safetensors: has other classes than .*: 0, 1"):
        submit.main([str(trained), str(tmp_path / "other"), str(tmp_path / "sample.csv"), str(photos)])


def test_the_sample_alone_is_enough(trained, photos, tmp_path, monkeypatch, capsys):
    data = tmp_path / "data"
    for folder in ("test/test", "train"):
        shutil.copytree(photos / "is 2", data / folder)
    (data / "train" / "0.png").unlink()
    (data / "sample_submission.csv").write_text("id,label\n3,0\n0,0\n")
    monkeypatch.chdir(tmp_path)
    shutil.copytree(trained, tmp_path / "outputs")
    out = submit.main(["data/sample_submission.csv"])
    assert [(row["id"], row["label"]) for row in rows(out)] == [("3", "2"), ("0", "2")]
    assert "images in data/test/test" in capsys.readouterr().out
    shutil.copy(data / "test/test/0.png", data / "train")
    submit.main(["data/sample_submission.csv"])
    assert "images in data/test/test" in capsys.readouterr().out, "images to be classified, not those to train on"
    shutil.copytree(data / "test/test", data / "test2")
    with pytest.raises(SystemExit, match=r"may be those in data/test2, data/test/test; name one after it"):
        submit.main(["data/sample_submission.csv"])
    for words, reason in (
        (["outputs", str(photos)], "not a table; name the sample submission"),
        (["data/sample_submission.csv", "data/train", "outputs"], "runs are named before"),
    ):
        with pytest.raises(SystemExit, match=reason):
            submit.main(words)
    (data / "sample_submission.csv").write_text("id,label\n3,0\n99,0\n")
    with pytest.raises(SystemExit, match="no image '99' in data or its folders; name their folder"):
        submit.main(["data/sample_submission.csv"])
