"""Cross-validation: every image is tested once, by a network that has not seen it, and an interrupted one goes on."""

import csv
import json
import re
import signal
from collections import Counter
from dataclasses import replace
from pathlib import Path
from statistics import fmean, stdev

import pytest
import torch
from conftest import PINNED, same, settings
from hypothesis import given
from hypothesis import settings as limits
from hypothesis import strategies as st
from sklearn.model_selection import StratifiedKFold

from jobs import finetune, train
from jobs.config.data import DataConfig
from jobs.data import load
from jobs.data.splits import folds
from jobs.errors import DataError
from jobs.models.modelfile import find_model, find_models, load_model
from jobs.training import pipeline
from jobs.training.checkpoint import Checkpoints
from jobs.training.evaluation import evaluate


def folded(out: Path, data: object, count: int = 3, fold: int = 0, **more: object):
    """Return the settings of a cross-validation, or of one fold of it."""
    chosen = settings(out, data=data, **more)
    return replace(chosen, config=replace(chosen.config, folds=count, fold=fold))


def parts(out: Path) -> dict[str, list[tuple[str, str]]]:
    """Return the images that a run was trained on and tested with, as split.csv has them."""
    found: dict[str, list[tuple[str, str]]] = {"train": [], "test": []}
    for row in csv.DictReader((out / "split.csv").open()):
        found[row["part"]].append((row["class"], row["unit"]))
    return found


@pytest.mark.filterwarnings("ignore:The least populated class")
@limits(deadline=None, max_examples=40)
@given(st.lists(st.integers(0, 4), min_size=7, max_size=60), st.integers(2, 7), st.integers(0, 99))
def test_each_image_is_tested_once_and_classes_are_shared_out_as_scikit_learn_does(labels, count, seed):
    wanted = Counter(labels)
    pairs = folds(torch.tensor(labels), count, seed)
    assert sorted(at for _, test in pairs for at in test.tolist()) == list(range(len(labels)))
    assert all(sorted([*learned.tolist(), *test.tolist()]) == list(range(len(labels))) for learned, test in pairs)
    sizes = [len(test) for _, test in pairs]
    assert max(sizes) - min(sizes) <= 1
    for label, images in wanted.items():
        shares = [sum(labels[at] == label for at in test.tolist()) for _, test in pairs]
        assert max(shares) - min(shares) <= 1
        if images >= count:
            theirs = StratifiedKFold(count).split(labels, labels)
            assert sorted(sum(labels[at] == label for at in test) for _, test in theirs) == sorted(shares)


@limits(deadline=None, max_examples=40)
@given(st.lists(st.tuples(st.integers(0, 12), st.integers(0, 2)), min_size=20, max_size=90), st.integers(2, 4))
def test_a_group_is_never_divided_and_no_fold_is_empty(images, count):
    units = [f"patient {group}" for group, _ in images]
    labels = torch.tensor([label for _, label in images])
    if len(set(units)) < count:
        with pytest.raises(DataError, match=f"{count} folds need as many groups; there are {len(set(units))}"):
            folds(labels, count, 0, units, grouped=True)
        return
    pairs = folds(labels, count, 0, units, grouped=True)
    assert sorted(at for _, test in pairs for at in test.tolist()) == list(range(len(units)))
    for learned, test in pairs:
        assert len(test)
        assert {units[at] for at in learned.tolist()}.isdisjoint(units[at] for at in test.tolist())


def test_groups_of_one_class_each_are_shared_out_evenly():
    units = [f"{label}-{group}" for label in range(3) for group in range(10) for _ in range(4)]
    labels = torch.tensor([int(unit[0]) for unit in units])
    for _, test in folds(labels, 5, 0, units, grouped=True):
        assert Counter(labels[test].tolist()) == {0: 8, 1: 8, 2: 8}


def test_which_fold_an_image_is_in_depends_on_its_name_and_the_seed_not_on_the_order():
    names = [f"{at}.png" for at in range(40)]
    labels = torch.arange(40) % 2
    back = torch.arange(39, -1, -1)
    forth = {names[at] for at in folds(labels, 4, 0, names)[1][1].tolist()}
    turned = [names[at] for at in back.tolist()]
    assert {turned[at] for at in folds(labels[back], 4, 0, turned)[1][1].tolist()} == forth
    assert {names[at] for at in folds(labels, 4, 1, names)[1][1].tolist()} != forth


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, few_files: Path) -> Path:
    """A cross-validation of three folds that nothing interrupted, on data with a test part of their own."""
    out = tmp_path_factory.mktemp("folds") / "outputs"
    train.run(replace(folded(out, few_files), own={"program": "jobs.train"}))
    return out


def test_the_folds_are_what_single_trainings_give_and_their_mean_is_reported(whole, few_files, tmp_path, capsys):
    singles = [train.run(folded(tmp_path / str(fold), few_files, fold=fold)) for fold in (1, 2, 3)]
    for fold in (1, 2, 3):
        assert same(whole / f"fold-{fold}", tmp_path / str(fold))
    kept = json.loads((whole / "args.json").read_text())
    assert kept["fold_scores"] == singles
    assert kept["test_accuracy"] == pytest.approx(fmean(singles))
    assert (kept["folds"], kept["fold"], kept["test_images"]) == (3, 0, 320)
    metrics = json.loads((whole / "metrics.json").read_text())
    assert metrics == {"accuracy": pytest.approx(fmean(singles)), "spread": pytest.approx(stdev(singles))}
    assert {path.name for path in whole.iterdir()} == {"fold-1", "fold-2", "fold-3", "args.json", "metrics.json"}


def test_a_test_part_of_the_data_is_in_no_fold(few, few_files, whole):
    seen = [load(DataConfig(str(few_files), folds=3, fold=fold)) for fold in (1, 2, 3)]
    known = {bytes(image.flatten().tolist()): at for at, image in enumerate(few.train.images)}

    def numbers(images: torch.Tensor) -> set[int]:
        return {known[bytes(image.flatten().tolist())] for image in images}

    for data in seen:
        assert numbers(data.train.images).isdisjoint(numbers(data.test.images))
        assert numbers(data.train.images) | numbers(data.test.images) == set(known.values())
    assert set.union(*(numbers(data.test.images) for data in seen)) == set(known.values())
    for fold, data in enumerate(seen, 1):
        model, facts = load_model(whole / f"fold-{fold}")
        assert evaluate(model, data.test) == facts.accuracy


def test_files_are_held_out_of_each_other_and_recorded(photos, tmp_path):
    train.run(folded(tmp_path, photos, model="mean-image", lr=None))
    found = [parts(tmp_path / f"fold-{fold}") for fold in (1, 2, 3)]
    everything = sorted((f"is {label}", f"{at}.png") for label in range(3) for at in range(12))
    assert sorted(each for part in found for each in part["test"]) == everything
    for part in found:
        assert sorted([*part["train"], *part["test"]]) == everything
        assert Counter(label for label, _ in part["test"]) == {"is 0": 4, "is 1": 4, "is 2": 4}


def test_groups_of_a_table_stay_together(photos, tmp_path):
    rows = [f"is {label}/{at},{label},patient {at % 6}" for label in range(3) for at in range(12)]
    (tmp_path / "labels.csv").write_text("\n".join(["file,label,patient", *rows]) + "\n")
    config = DataConfig(str(tmp_path / "labels.csv"), images=photos, group="patient", folds=3)
    for fold in (1, 2, 3):
        data = load(replace(config, fold=fold))
        assert len(data.test) == 12
        assert set(data.test.units).isdisjoint(data.train.units)


def test_folds_of_pictures_that_are_in_both_parts_are_reported(photos, tmp_path, capsys):
    for at in range(3):
        (photos / "is 0" / f"copy {at}.png").write_bytes((photos / "is 0" / f"{at}.png").read_bytes())
    for fold in (1, 2, 3):
        load(DataConfig(str(photos), size=32, folds=3, fold=fold))
    assert re.search(r"training images are also in the test.*copy \d\.png", capsys.readouterr().out)


def test_a_run_interrupted_in_a_later_fold_goes_on_there(whole, few_files, tmp_path, monkeypatch, capsys):
    trained = []
    step = pipeline.fit.__globals__["take_step"]

    def count_and_step(*given: object):
        trained.append(given[-1].store.folder.parent.name)
        return step(*given)

    monkeypatch.setitem(pipeline.fit.__globals__, "take_step", count_and_step)
    save = Checkpoints.save

    asked_to_stop = []

    def save_and_signal(store: Checkpoints, *rest: object) -> Path:
        if store.folder.parent.name == "fold-2" and not asked_to_stop:
            asked_to_stop.append(True)
            signal.raise_signal(signal.SIGTERM)
        return save(store, *rest)  # type: ignore[arg-type]

    asked = replace(folded(tmp_path / "out", few_files), save_every_s=1e-9)
    with monkeypatch.context() as patch:
        patch.setattr(Checkpoints, "save", save_and_signal)
        with pytest.raises(SystemExit) as end:
            train.run(asked)
    assert end.value.code == 143
    assert "fold-2/checkpoints" in capsys.readouterr().out
    assert not (tmp_path / "out/args.json").exists()
    assert trained == ["fold-1"] * 6 + ["fold-2"] * 2
    with pytest.raises(Exception, match="has not ended"):
        find_models(tmp_path / "out")
    trained.clear()
    train.run(replace(asked, resume="auto"))
    assert trained == ["fold-2"] * 4 + ["fold-3"] * 6
    assert all(same(tmp_path / "out" / f"fold-{fold}", whole / f"fold-{fold}") for fold in (1, 2, 3))
    trained.clear()
    train.run(replace(folded(tmp_path / "elsewhere", few_files), resume=str(tmp_path / "out")))
    assert trained == []
    assert len(find_models(tmp_path / "elsewhere")) == 3
    train.run(folded(tmp_path / "out", few_files))
    assert trained == ["fold-1"] * 6 + ["fold-2"] * 6 + ["fold-3"] * 6, "checkpoints are used only where asked"


def test_fine_tuning_has_folds_too(photos, whole, few_files, tmp_path):
    words = ["--data", photos, "--model", "linear", "--epochs", "1", "--batch-size", "8", "--folds", "2"]
    finetune.main([*map(str, words), *PINNED, "--out", str(tmp_path / "out")])
    assert len(find_models(tmp_path / "out")) == 2


def test_a_run_of_folds_can_be_repeated(whole, tmp_path):
    train.main(["--like", str(whole), "--out", str(tmp_path / "again"), "--device", "cpu"])
    assert all(same(tmp_path / "again" / f"fold-{fold}", whole / f"fold-{fold}") for fold in (1, 2, 3))


def test_programs_that_take_one_model_name_the_folds(whole):
    with pytest.raises(Exception, match=r"a model for each of its folds; name one, such as [^ ]*fold-1"):
        find_model(whole)


def test_folds_that_cannot_be_are_refused(few_files, trained, tmp_path):
    for words, code in (
        ("--folds 1", 2),
        ("--fold 2", 2),
        ("--folds 3 --fold 4", 2),
        ("--folds 3 --lr-find", 2),
        (f"--folds 3 --out {trained}", "has the model of another run"),
        (f"--folds 3 --resume {tmp_path}/none", "no checkpoint of a fold"),
    ):
        with pytest.raises(SystemExit, match=code if isinstance(code, str) else None) as end:
            train.main(["--data", str(few_files), "--out", str(tmp_path / "out"), *words.split()])
        assert isinstance(code, str) or end.value.code == code


def test_numbers_and_several_labels_are_divided_without_classes():
    several = torch.rand(20, 3) < 0.5
    for labels in (torch.rand(20), several):
        assert sorted(len(test) for _, test in folds(labels, 4, 0)) == [5, 5, 5, 5]
