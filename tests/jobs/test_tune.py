"""Successive halving: the best third goes on, what has ended is not trained again, no two tasks have the same candidates."""

import json
from dataclasses import replace

import pytest
from conftest import settings

from jobs import tune
from jobs.config.recipe import Recipe


def test_the_best_third_of_each_round_trains_three_times_as_long(tmp_path):
    trained = []

    def train_one(chosen):
        trained.append((chosen.out.name, chosen.recipe.epochs, chosen.config.fold))
        return chosen.recipe.lr

    best = tune.search(settings(tmp_path), range(9), train_one)
    rates = {at: tune.draw(settings(tmp_path).recipe, at).lr for at in range(9)}
    order = sorted(rates, key=lambda at: -rates[at])
    assert [(name, epochs) for name, epochs, _ in trained[9:]] == [
        *((f"candidate-{at}", 6) for at in order[:3]),
        (f"candidate-{order[0]}", 18),
    ]
    assert {fold for *_, fold in trained} == {1}
    assert best == (order[0], rates[order[0]])


def test_a_time_budget_is_divided_among_rounds_and_candidates():
    recipe = Recipe(time_budget_s=90.0)
    lengths = [tune.lengthen(recipe, at, 3, count).time_budget_s * count for at, count in enumerate((9, 3, 1))]
    assert lengths == [30, 30, 30]


def test_candidates_are_the_same_each_time_and_the_first_has_the_options_as_typed():
    recipe = Recipe(lr=0.01)
    assert tune.draw(recipe, 0) == recipe
    assert tune.draw(recipe, 3) == tune.draw(recipe, 3) != tune.draw(recipe, 4)
    assert tune.draw(recipe, 3) != tune.draw(replace(recipe, seed=1), 3)


def test_no_two_tasks_of_an_array_have_the_same_candidates():
    shares = [tune.choose_candidates(3, {"GPUJOB_TASK": str(task)}) for task in range(4)]
    assert [at for share in shares for at in share] == list(range(12))
    assert list(tune.choose_candidates(3, {})) == [0, 1, 2]


def test_an_interrupted_candidate_is_resumed_and_other_options_train_it_anew(tmp_path):
    resumed = []

    def train_one(chosen):
        resumed.append(chosen.resume)
        if len(resumed) > 1:
            (chosen.out / "args.json").write_text('{"test_accuracy": 0.5}')
        return 0.5

    chosen = settings(tmp_path)
    for recipe in (chosen.recipe, chosen.recipe, chosen.recipe, replace(chosen.recipe, flip=True)):
        tune.train_once(chosen, recipe, "candidate-1", train_one)
    assert resumed == ["", "auto", ""]


@pytest.mark.parametrize("words", ["--folds", "--lr-find", "--model majority", "--regression", "--resume runs/3"])
def test_what_a_search_cannot_do_is_refused_in_one_line(tmp_path, words):
    with pytest.raises(SystemExit, match=f"^jobs.tune: error: cannot be used with {words.replace('runs/3', 'DIR')}"):
        tune.main(
            ["--data", "digits", "--out", str(tmp_path / "out"), *words.split(), *(["5"] if words == "--folds" else [])]
        )
    assert not (tmp_path / "out").exists()


def test_a_real_search_ends_and_typed_again_trains_nothing(tmp_path, few_files, capsys):
    words = ["--data", str(few_files), "--model", "linear", "--device", "cpu", "--batch-size", "64"]
    search = [*words, "--candidates", "3", "--epochs", "1", "--out", str(tmp_path / "out")]
    best = tune.main(search)
    advice = capsys.readouterr().out.splitlines()[-1]
    assert f"python -m jobs.train {' '.join(words)} --epochs 3 --lr " in advice
    assert json.loads((tmp_path / "out" / "metrics.json").read_text())["accuracy"] == best
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("model.safetensors")}
    assert len(before) == 4
    assert tune.main(search) == best
    assert {path: path.stat().st_mtime_ns for path in before} == before
