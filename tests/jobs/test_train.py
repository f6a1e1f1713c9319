"""Training learns, writes what it reached, and ends as it is told; what is wrong with its arguments is named."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from conftest import CONTEXT, FIXED, PINNED, ROOT, Operations, same, settings, start, weights

from jobs import compare, finetune
from jobs import train as train_program
from jobs.config.recipe import Recipe
from jobs.data import Dataset
from jobs.errors import JobsError, TrainingError
from jobs.models import build
from jobs.models.modelfile import load_model
from jobs.optim.precision import choose
from jobs.train import main, run
from jobs.training.checkpoint import Checkpoints, load_checkpoint
from jobs.training.evaluation import evaluate
from jobs.training.fit import explain_memory, fit
from jobs.training.state import Plan


def test_a_small_network_learns_digits_and_its_file_scores_what_was_reported(trained, digits):
    accuracy = json.loads((trained / "args.json").read_text())["test_accuracy"]
    assert accuracy > 0.9
    model, facts = load_model(trained)
    assert evaluate(model, digits.test) == accuracy == facts.accuracy
    assert facts.classes == digits.classes


def test_accuracy_does_not_depend_on_the_batch_it_is_measured_in(trained, digits):
    model, _ = load_model(trained)
    assert evaluate(model, digits.test, batch_size=7) == evaluate(model, digits.test, batch_size=360)


def test_figures_and_arguments_are_kept_with_the_result(tmp_path, capsys):
    accuracy = run(settings(tmp_path))
    epochs = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [epoch["epoch"] for epoch in epochs] == [1, 2]
    assert epochs[-1]["accuracy"] == accuracy
    assert epochs[1]["train_loss"] < epochs[0]["train_loss"]
    kept = json.loads((tmp_path / "args.json").read_text())
    assert (kept["batch_size"], kept["data_set"], kept["test_accuracy"]) == (64, "digits", accuracy)
    assert capsys.readouterr().out.splitlines()[-1] == str(tmp_path / "model.safetensors")


def test_one_seed_gives_the_same_weights_twice_and_another_gives_others(tmp_path, few_files):
    for name, seed in (("one", 0), ("two", 0), ("three", 1)):
        run(settings(tmp_path / name, "lenet", few_files, seed=seed, epochs=1, crop=1, erase=0.2))
    assert same(tmp_path / "one", tmp_path / "two")
    assert not same(tmp_path / "one", tmp_path / "three")


def test_a_run_is_repeated_bit_for_bit_though_its_precision_was_chosen_by_timing(tmp_path, photos, monkeypatch, capsys):
    words = ["--data", str(photos), "--size", "16", "--model", "small", "--epochs", "2", "--batch-size", "8", "--flip"]
    main([*words, "--device", "cpu", "--seed", "3", "--out", str(tmp_path / "one")])
    kept = json.loads((tmp_path / "one/args.json").read_text())
    assert "auto" not in (kept["precision"], kept["layout"])
    monkeypatch.setattr("jobs.optim.precision.time_step", lambda *_: pytest.fail("timed again"))
    main(["--like", str(tmp_path / "one"), "--device", "cpu", "--out", str(tmp_path / "two")])
    assert same(tmp_path / "one", tmp_path / "two")
    main(["--like", str(tmp_path / "one"), "--device", "cpu", "--seed", "4", "--out", str(tmp_path / "three")])
    assert not same(tmp_path / "one", tmp_path / "three")
    next((photos / "is 0").iterdir()).unlink()
    (photos / "is 1/0.png").rename(photos / "is 1/new.png")
    with pytest.raises(SystemExit):
        main(["--like", str(tmp_path / "one"), "--device", "cpu", "--out", str(tmp_path / "four")])
    with pytest.raises(SystemExit):
        finetune.main(["--like", str(tmp_path / "one")])
    assert "written by jobs.train, not by jobs.finetune" in capsys.readouterr().err


def test_no_step_waits_for_the_device(few):
    counts = []
    for images in (64, 320):
        data = replace(few, train=few.train.take(torch.arange(images)))
        wide = {"flip": True, "crop": 1, "zoom": 0.2, "erase": 0.2, "cutmix": 0.4, "ema": 0.9, "clip": 1.0, "tta": True}
        plan = Plan(data, Recipe(epochs=1, batch_size=16, lr=0.01, optimizer="muon", **wide, **FIXED), CONTEXT)
        epochs = fit(build("small", data), plan)
        with Operations() as operations:
            list(epochs)
        counts.append(operations.waits)
    assert counts[0] == counts[1] < 5, "for 4 steps, and for 20"


EVERYTHING = {
    "optimizer": "sgd",
    "lr": 0.05,
    "schedule": "cosine",
    "flip": True,
    "crop": 1,
    "zoom": 0.2,
    "erase": 0.2,
    "ema": 0.9,
    "clip": 1.0,
    "accumulate": 2,
    "progressive": 0.6,
    "tta": True,
    "precision": "bfloat16",
    "layout": "channels_last",
}


@pytest.mark.parametrize("mixing", ["mixup", "cutmix"])
def test_everything_that_can_be_switched_on_works_together(tmp_path, few_files, mixing):
    assert run(settings(tmp_path, "small", few_files, **{**EVERYTHING, mixing: 0.4, "epochs": 6})) > 0.3  # chance: 0.1


def test_gradients_of_parts_of_a_batch_add_up_to_those_of_the_whole(tmp_path, few_files):
    for name, parts in (("whole", 1), ("parts", 4)):
        run(settings(tmp_path / name, "mlp", few_files, accumulate=parts, epochs=2, optimizer="sgd"))
    left, right = weights(tmp_path / "whole"), weights(tmp_path / "parts")
    assert all(torch.allclose(left[name], right[name], atol=1e-5) for name in left)


EARLY = {"epochs": 60, "early_stop": 2, "lr": 0.05, "schedule": "constant"}


@pytest.fixture(scope="module")
def stopped_early(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("early")
    run(settings(out, **EARLY))
    return out


def test_training_ends_early_when_nothing_is_gained_and_keeps_the_best(stopped_early, digits):
    epochs = [json.loads(line)["accuracy"] for line in (stopped_early / "metrics.jsonl").read_text().splitlines()]
    assert len(epochs) < 60
    assert max(epochs[-2:]) <= max(epochs[:-2])
    model, facts = load_model(stopped_early)
    assert evaluate(model, digits.test) == facts.accuracy  # on the test images, which did not decide when to stop


def test_the_best_network_comes_along_where_a_run_goes_on_into_another_folder(tmp_path, stopped_early):
    run(replace(settings(tmp_path, **EARLY), resume=str(stopped_early)))
    assert same(stopped_early, tmp_path)


def test_a_time_budget_ends_training_with_the_rate_annealed(tmp_path):
    accuracy = run(settings(tmp_path, "linear", epochs=0, time_budget_s=1.5))
    assert accuracy > 0.5  # 0.94 where nothing else runs; chance is 0.1
    state = load_checkpoint(Checkpoints(tmp_path / "checkpoints").latest())[1]
    assert state["spent_s"] >= 1.5
    assert state["optimizers"][0]["param_groups"][0]["lr"] < 0.01 * 0.2


def test_a_loss_that_is_no_number_names_its_step_and_the_last_good_weights_stand(tmp_path, few_files):
    run(settings(tmp_path, data=few_files))
    good = weights(tmp_path)
    with pytest.raises(TrainingError, match=r"loss of step \d+ is (nan|inf).*--lr"):
        run(settings(tmp_path, "mlp", few_files, lr=1e30))
    assert all(torch.equal(value, good[name]) for name, value in weights(tmp_path).items())


@pytest.mark.parametrize("lr", [None, 0.0, -0.1])
def test_a_recipe_without_a_learning_rate_is_an_error_and_touches_nothing(tmp_path, few, few_files, lr):
    with pytest.raises(TrainingError, match="no learning rate"):
        next(iter(fit(build("linear", few), Plan(few, Recipe(lr=lr, **FIXED), CONTEXT))))
    run(settings(tmp_path, data=few_files))
    good = Checkpoints(tmp_path / "checkpoints").latest()
    with pytest.raises(TrainingError, match="no learning rate"):
        run(settings(tmp_path, data=few_files, lr=lr))
    assert Checkpoints(tmp_path / "checkpoints").latest() == good is not None


def test_a_closed_form_model_needs_no_learning_rate(tmp_path, few_files):
    assert run(settings(tmp_path, "mean-image", few_files, lr=None)) > 0.8
    assert {path.name for path in tmp_path.iterdir()} == {"model.safetensors", "args.json"}


def test_out_of_memory_says_which_batch_size_to_try(few):
    model = build("linear", few)
    calls = iter(range(100))

    def full(*_: object) -> None:
        if next(calls) == 2:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")

    model.net.register_forward_hook(full)
    with pytest.raises(TrainingError, match=r"--accumulate 2 \(the same steps\) or --batch-size 32"):
        list(fit(model, Plan(few, Recipe(batch_size=64, lr=0.01, **FIXED), CONTEXT)))


def test_the_advice_on_memory_is_honest_about_batch_norm_and_ends_where_it_cannot_help(few):
    linear, small = build("linear", few), build("small", few)
    recipe = Recipe(batch_size=64, accumulate=2)
    assert "the same steps; batch norm then sees 16 images at a time" in explain_memory(small, recipe, 64)
    assert "batch norm" not in explain_memory(linear, recipe, 64)
    small.requires_grad_(requires_grad=False)
    assert "batch norm" not in explain_memory(small, recipe, 64), "frozen norms keep their statistics"
    assert "--size" in explain_memory(linear, replace(recipe, accumulate=32), 64)


@pytest.mark.parametrize("accumulate", [4, 5, 64])
def test_batch_norm_sees_at_least_two_images_however_small_the_parts(tmp_path, few_files, accumulate, capsys):
    seen = []
    forward = torch.nn.BatchNorm2d.forward
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.nn.BatchNorm2d, "forward", lambda norm, x: seen.append(len(x)) or forward(norm, x))
        run(settings(tmp_path, "small", few_files, epochs=1, batch_size=11, accumulate=accumulate))
    assert min(seen) >= 2
    assert f"--accumulate {accumulate}: batch norm sees {max(2, 11 // accumulate)} images" in capsys.readouterr().out


def test_what_cannot_work_is_refused_before_an_image_is_read(tmp_path, monkeypatch):
    monkeypatch.setattr("jobs.training.pipeline.load", lambda *_: pytest.fail("read"))
    monkeypatch.setattr("jobs.data.load", lambda *_: pytest.fail("read"))
    (tmp_path / "file").write_text("")
    for program, words, reason in (
        (main, "--model resnet81", "no model 'resnet81'"),
        (main, "--model small --pretrained", "no pretrained weights for 'small'"),
        (main, f"--weights {tmp_path}/none.pth", "no such file"),
        (main, f"--resume {tmp_path}/none", "no checkpoint found"),
        (main, "--wandb", "pip install wandb"),
        (main, f"--out {tmp_path}/file/out", "cannot write there: Not a directory"),
        (finetune.main, f"--model resnet18 --out {tmp_path}/file", "cannot write there: File exists"),
        (compare.main, "--models linear,resnet81", "no model 'resnet81'"),
        (compare.main, "--models ,", "names no model"),
        (compare.main, f"--models linear --out {tmp_path}/file", "cannot write there"),
    ):
        with pytest.raises(SystemExit, match=f"^jobs[^\n]*{reason}[^\n]*$"):
            program([*([] if "--out" in words else ["--out", str(tmp_path / "out")]), *words.split()])


def test_a_network_that_cannot_take_the_images_is_found_before_the_others_are_compared(
    tmp_path, monkeypatch, few_files
):
    monkeypatch.setattr("jobs.ladder.measure_trained", lambda *_: pytest.fail("trained"))
    with pytest.raises(SystemExit, match="alexnet cannot take images of 8 x 8 pixels; try --size 64"):
        compare.main(["--data", str(few_files), "--models", "linear,alexnet", "--out", str(tmp_path)])


def test_too_few_images_are_refused(few):
    one = replace(few, train=few.train.take(torch.arange(1)))
    with pytest.raises(TrainingError, match="not enough training images: 1"):
        next(iter(fit(build("linear", few), Plan(one, Recipe(lr=0.01, **FIXED), CONTEXT))))


def test_the_way_to_compute_is_timed_without_touching_weights_or_random_numbers(few, capsys):
    torch.manual_seed(3)
    model = build("small", few)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    numbers = torch.get_rng_state()
    chosen = choose(model, few.train.images[:64], few.train.labels[:64], Recipe())
    assert chosen.layout in capsys.readouterr().out
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert torch.equal(torch.get_rng_state(), numbers)


def test_two_processes_reach_what_one_does_in_each_fold(tmp_path, few_files):
    words = ["--data", str(few_files), "--model", "small", "--epochs", "2", "--crop", "1", "--optimizer", "sgd"]
    words = [*PINNED, *words, "--batch-size", "64", "--lr", "0.05", "--folds", "2"]
    main([*words, "--out", str(tmp_path / "one")])
    torchrun = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")
    two = start(*torchrun, "-m", "jobs.train", *words, "--out", tmp_path / "two")
    said = two.communicate(timeout=240)[0]
    assert two.returncode == 0, said
    for fold in ("fold-1", "fold-2"):
        one, other = weights(tmp_path / "one" / fold), weights(tmp_path / "two" / fold)
        floats = [name for name in one if one[name].is_floating_point()]
        assert all(torch.allclose(one[name], other[name], atol=2e-3, rtol=1e-2) for name in floats)
    scores = [json.loads((tmp_path / name / "args.json").read_text())["test_accuracy"] for name in ("one", "two")]
    assert abs(scores[0] - scores[1]) < 0.02


def test_processes_that_time_another_layout_as_the_fastest_agree_on_one(tmp_path, few_files):
    script = tmp_path / "train.py"
    script.write_text(
        "import os\n"
        "from jobs import train\n"
        "from jobs.optim.precision import Execution\n"
        "from jobs.training import fit\n"
        "layout = ['contiguous', 'channels_last'][int(os.environ['RANK'])]\n"
        "fit.choose = lambda *_: Execution('float32', layout)\n"
        "train.main()\n"
    )
    torchrun = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")
    words = ["--data", few_files, "--model", "small", "--epochs", "1", "--device", "cpu", "--out", tmp_path / "out"]
    two = start(*torchrun, script, *words)
    said = two.communicate(timeout=240)[0]
    assert two.returncode == 0, said
    assert json.loads((tmp_path / "out/args.json").read_text())["layout"] == "contiguous"


def test_rates_are_tried_and_a_sensible_one_is_suggested(tmp_path):
    found = run(replace(settings(tmp_path, "mlp"), lr_find=True))
    assert 1e-5 < found < 1
    assert (tmp_path / "lr-find.png").stat().st_size > 1000


BAD = [
    "--epochs 0",
    "--epochs x",
    "--batch-size 1",
    "--lr 0",
    "--lr nan",
    "--seed -1",
    "--device tpu",
    "--time-budget soon",
]


@pytest.mark.parametrize("words", BAD)
def test_a_bad_argument_ends_in_one_line_and_status_2(words, capsys):
    with pytest.raises(SystemExit) as end:
        main(words.split())
    said = capsys.readouterr().err
    assert end.value.code == 2
    assert said.count("\n") == 1
    assert words.split()[0] in said


def test_a_user_error_ends_in_one_line_and_status_1(tmp_path):
    for words in (["--data", "digits", "--model", "resnet81"], ["--data", str(tmp_path / "nowhere")]):
        with pytest.raises(SystemExit) as end:
            main([*words, "--out", str(tmp_path / "out")])
        assert isinstance(end.value.code, str)  # what Python prints, with status 1
        assert "\n" not in end.value.code
        assert words[-1] in end.value.code
    process = start("-m", "jobs.train", *words, "--out", tmp_path / "out")
    last = process.communicate(timeout=240)[0].splitlines()[-1]
    assert (process.returncode, last) == (1, end.value.code)


def test_help_needs_no_torch():
    names = (
        "train",
        "finetune",
        "compare",
        "interpret",
        "predict",
        "submit",
        "export",
        "perceptron",
        "tune",
        "board",
        "ensemble",
    )
    script = f"""
import importlib, sys
for name in {names}:
    try: importlib.import_module(f"jobs.{{name}}").main(["--help"])
    except SystemExit: pass
print("torch" in sys.modules, "scipy" in sys.modules, "matplotlib" in sys.modules)
"""
    answer = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert answer.stdout.endswith("False False False\n")
    assert answer.stdout.count("usage: ") == len(names)
    assert issubclass(TrainingError, JobsError)
    assert train_program.__doc__


def test_tensorboard_is_off_unless_asked_for_and_says_what_it_needs(tmp_path, few_files):
    asked = replace(settings(tmp_path, data=few_files), tensorboard=True)
    try:
        import tensorboard  # noqa: F401
    except ImportError:
        with pytest.raises(TrainingError, match="pip install tensorboard"):
            run(asked)
    else:
        run(asked)
        assert list((tmp_path / "tensorboard").iterdir())


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
def test_training_on_a_gpu_leaves_weights_that_load_without_one(tmp_path, digits: Dataset):
    accuracy = run(replace(settings(tmp_path, "small", precision="auto", layout="auto"), device="cuda"))
    assert evaluate(load_model(tmp_path)[0], digits.test) == pytest.approx(accuracy, abs=0.01)
