"""Training learns, writes what it says, ends as it is told, and goes on from where it was as if nothing had happened."""

import json
import os
import random
import resource
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from conftest import FIXED, ROOT, environment, program, settings
from safetensors.torch import load_file

from jobs import train as train_program
from jobs.config.recipe import Recipe
from jobs.errors import CheckpointError, JobsError, TrainingError
from jobs.models import build
from jobs.models.modelfile import load_model
from jobs.optim.precision import choose
from jobs.train import main, run
from jobs.training.checkpoint import Checkpoints, load_checkpoint
from jobs.training.distributed import DistributedContext
from jobs.training.evaluation import evaluate
from jobs.training.fit import fit
from jobs.training.state import Plan

KILLS = int(os.environ.get("KILLS", "3"))
CONTEXT = DistributedContext(torch.device("cpu"))
PINNED = ("--device", "cpu", "--precision", "float32", "--layout", "contiguous", "--data", "digits")


def weights(out: Path) -> dict[str, torch.Tensor]:
    return load_file(out / "model.safetensors")


def same(one: Path, other: Path) -> bool:
    left, right = weights(one), weights(other)
    return set(left) == set(right) and all(torch.equal(left[name], right[name]) for name in left)


def test_a_small_network_learns_digits_and_its_file_scores_what_was_reported(tmp_path, digits):
    accuracy = run(settings(tmp_path, "small"))
    assert accuracy > 0.9  # 0.96 with this seed
    model, facts = load_model(tmp_path)
    assert evaluate(model, digits.test) == accuracy == facts.accuracy
    assert facts.classes == digits.classes


def test_accuracy_does_not_depend_on_the_batch_it_is_measured_in(tmp_path, digits):
    run(settings(tmp_path, "lenet"))
    model, _ = load_model(tmp_path)
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


def test_one_seed_gives_the_same_weights_twice_and_another_gives_others(tmp_path):
    for name, seed in (("one", 0), ("two", 0), ("three", 1)):
        run(settings(tmp_path / name, "lenet", seed=seed, epochs=1, crop=1, erase=0.2))
    assert same(tmp_path / "one", tmp_path / "two")
    assert not same(tmp_path / "one", tmp_path / "three")


EVERYTHING = {
    "optimizer": "sgd", "lr": 0.05, "schedule": "cosine", "flip": True, "crop": 1, "zoom": 0.2, "erase": 0.2, "ema": 0.9,
    "clip": 1.0, "accumulate": 2, "progressive": 0.6, "tta": True, "precision": "bfloat16", "layout": "channels_last",
}  # fmt: skip


@pytest.mark.parametrize("mixing", ["mixup", "cutmix"])
def test_everything_that_can_be_switched_on_works_together(tmp_path, mixing):
    assert run(settings(tmp_path, "small", **{**EVERYTHING, mixing: 0.4, "epochs": 3})) > 0.3  # chance is 0.1


def test_gradients_of_parts_of_a_batch_add_up_to_those_of_the_whole(tmp_path):
    for name, parts in (("whole", 1), ("parts", 4)):
        run(settings(tmp_path / name, "mlp", accumulate=parts, epochs=1, optimizer="sgd"))
    left, right = weights(tmp_path / "whole"), weights(tmp_path / "parts")
    assert all(torch.allclose(left[name], right[name], atol=1e-5) for name in left)


def test_training_ends_early_when_nothing_is_gained_and_keeps_the_best(tmp_path):
    run(settings(tmp_path, "linear", epochs=60, early_stop=2, lr=0.05, schedule="constant"))
    epochs = [json.loads(line)["accuracy"] for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert len(epochs) < 60
    assert max(epochs[-2:]) <= max(epochs[:-2])


def test_the_best_network_comes_along_where_a_run_goes_on_into_another_folder(tmp_path):
    run(settings(tmp_path / "one", "linear", epochs=60, early_stop=2, lr=0.05, schedule="constant"))
    elsewhere = replace(
        settings(tmp_path / "two", "linear", epochs=60, early_stop=2, lr=0.05, schedule="constant"),
        resume=str(tmp_path / "one"),
    )
    run(elsewhere)
    assert same(tmp_path / "one", tmp_path / "two")


def test_a_time_budget_ends_training_with_the_rate_annealed(tmp_path):
    accuracy = run(settings(tmp_path, "linear", epochs=0, time_budget_s=1.5))
    assert accuracy > 0.8
    state = load_checkpoint(Checkpoints(tmp_path / "checkpoints").latest())[1]
    assert state["spent_s"] >= 1.5
    assert state["optimizers"][0]["param_groups"][0]["lr"] < 0.01 * 0.2


def test_a_loss_that_is_no_number_names_its_step_and_the_last_good_weights_stand(tmp_path):
    run(settings(tmp_path))
    good = weights(tmp_path)
    with pytest.raises(TrainingError, match=r"loss of step \d+ is (nan|inf).*--lr"):
        run(settings(tmp_path, "mlp", lr=1e30))
    assert all(torch.equal(value, good[name]) for name, value in weights(tmp_path).items())


def test_out_of_memory_says_which_batch_size_to_try(digits):
    model = build("linear", digits)
    calls = iter(range(100))

    def full(*_: object) -> None:
        if next(calls) == 2:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")

    model.net.register_forward_hook(full)
    with pytest.raises(TrainingError, match="--batch-size 32"):
        list(fit(model, Plan(digits, Recipe(batch_size=64, lr=0.01, **FIXED), CONTEXT)))


def test_the_way_to_compute_is_timed_without_touching_weights_or_random_numbers(digits, capsys):
    torch.manual_seed(3)
    model = build("small", digits)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    numbers = torch.get_rng_state()
    chosen = choose(model, digits.train.images[:64], digits.train.labels[:64], Recipe())
    assert chosen.layout in capsys.readouterr().out
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert torch.equal(torch.get_rng_state(), numbers)


def start(out: Path, *more: str, epochs: int = 6) -> "subprocess.Popen[str]":
    words = ["--model", "lenet", "--epochs", str(epochs), "--save-every", "0.01s", "--crop", "1", "--ema", "0.9"]
    return subprocess.Popen(
        [sys.executable, "-m", "jobs.train", *PINNED, *words, "--out", str(out), *more],
        cwd=ROOT, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip


def wait_for_checkpoint(out: Path, process: "subprocess.Popen[str]", after: Path | None) -> None:
    deadline = time.monotonic() + 120
    while process.poll() is None and Checkpoints(out / "checkpoints").latest() in (None, after):
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was never stopped."""
    out = tmp_path_factory.mktemp("whole")
    assert start(out).wait(240) == 0
    return out


def test_a_run_killed_again_and_again_ends_as_one_that_never_was(tmp_path, whole):
    moments = random.Random(7)
    for _ in range(KILLS):
        last = Checkpoints(tmp_path / "checkpoints").latest()
        process = start(tmp_path, "--resume", "auto")
        wait_for_checkpoint(tmp_path, process, last)
        time.sleep(moments.uniform(0, 0.4))
        process.kill()
        process.communicate()
    final = start(tmp_path, "--resume", "auto")
    said = final.communicate(timeout=240)[0]
    assert final.returncode == 0, said
    assert "resuming from" in said
    assert same(tmp_path, whole)
    one, other = (
        [
            (e["epoch"], e["train_loss"], e["accuracy"])
            for e in map(json.loads, (p / "metrics.jsonl").read_text().splitlines())
        ]
        for p in (tmp_path, whole)
    )
    assert one == other


def test_sigterm_finishes_the_step_saves_and_exits_143(tmp_path, whole):
    process = start(tmp_path)
    wait_for_checkpoint(tmp_path, process, None)
    process.send_signal(signal.SIGTERM)
    said = process.communicate(timeout=120)[0]
    assert process.returncode == 143, said
    assert "--resume auto continues" in said
    assert start(tmp_path / "elsewhere", "--resume", str(tmp_path)).wait(240) == 0
    assert same(tmp_path / "elsewhere", whole)


def test_a_full_disk_leaves_the_last_good_checkpoint(tmp_path):
    store = Checkpoints(tmp_path)
    good = store.save(1, {"w": torch.ones(10)}, {"step": 1})
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    heard = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))  # what a disk without room does to a writer
    try:
        with pytest.raises(CheckpointError, match=f"last good one stands: {good}"):
            store.save(2, {"w": torch.ones(1_000_000)}, {"step": 2, "o": torch.ones(1_000_000)})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, heard)
    assert store.latest() == good
    assert [path.name for path in tmp_path.iterdir()] == [good.name]
    assert load_checkpoint(good)[1] == {"step": 1}


class Evil:
    def __reduce__(self) -> tuple[object, ...]:
        return (os.system, ("touch pwned",))


def test_a_broken_or_foreign_checkpoint_is_refused_and_nothing_in_it_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    store = Checkpoints(tmp_path / "out" / "checkpoints")
    path = store.save(5, {"w": torch.ones(10)}, {"step": 5})
    torch.save({"step": Evil()}, path / "state.pt")
    with pytest.raises(CheckpointError, match="refused"):
        load_checkpoint(path)
    assert not (tmp_path / "pwned").exists()
    store.clear()
    path = store.save(5, {"w": torch.ones(10)}, {"step": 5})
    whole = (path / "weights.safetensors").read_bytes()
    (path / "weights.safetensors").write_bytes(whole[:-3])
    with pytest.raises(CheckpointError, match="broken"):
        load_checkpoint(path)
    other = replace(settings(tmp_path / "out"), resume="auto")
    run(replace(settings(tmp_path / "out", "lenet"), resume=""))
    with pytest.raises(CheckpointError, match="another network"):
        run(other)
    with pytest.raises(CheckpointError, match="no checkpoint there"):
        run(replace(other, resume=str(tmp_path / "nowhere")))
    again = replace(settings(tmp_path / "out", "lenet", seed=1), resume="auto")
    with pytest.raises(CheckpointError, match="made with --seed 0, and this is 1"):
        run(again)


def test_a_run_that_is_over_goes_on_where_more_epochs_are_wished_for(tmp_path, capfd):
    run(settings(tmp_path, epochs=1))
    run(replace(settings(tmp_path, epochs=1), resume="auto"))
    assert capfd.readouterr().out.count("epoch 1/1") == 2  # told again, not trained
    run(replace(settings(tmp_path, epochs=3), resume="auto"))
    said = capfd.readouterr().out
    assert [f"epoch {n}/3" in said for n in (1, 2, 3)] == [True] * 3
    step = Checkpoints(tmp_path / "checkpoints").latest()
    assert step is not None
    assert load_checkpoint(step)[1]["step"] == 3 * (1437 // 64), step


def test_two_processes_reach_what_one_does(tmp_path):
    words = [*PINNED, "--model", "small", "--epochs", "1", "--crop", "1", "--optimizer", "sgd", "--lr", "0.05"]
    assert program("train", *words, "--out", tmp_path / "one").returncode == 0
    command = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc-per-node",
        "2",
        "-m",
        "jobs.train",
    ]
    ended = subprocess.run(
        [*command, *words, "--out", str(tmp_path / "two")],
        cwd=ROOT, env=environment(), capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    one, two = weights(tmp_path / "one"), weights(tmp_path / "two")
    assert all(
        torch.allclose(one[name], two[name], atol=2e-3, rtol=1e-2) for name in one if one[name].is_floating_point()
    )
    scores = [json.loads((tmp_path / name / "args.json").read_text())["test_accuracy"] for name in ("one", "two")]
    assert abs(scores[0] - scores[1]) < 0.02


def test_rates_are_tried_and_a_sensible_one_is_suggested(tmp_path):
    found = run(replace(settings(tmp_path, "mlp"), lr_find=True))
    assert 1e-5 < found < 1
    assert (tmp_path / "lr-find.png").stat().st_size > 1000


@pytest.mark.parametrize(
    "words",
    [
        "--epochs 0",
        "--epochs x",
        "--batch-size 1",
        "--lr 0",
        "--lr nan",
        "--seed -1",
        "--device tpu",
        "--time-budget soon",
    ],
)
def test_a_bad_argument_ends_in_one_line_and_status_2(words, capsys):
    with pytest.raises(SystemExit) as end:
        main(words.split())
    said = capsys.readouterr().err
    assert end.value.code == 2
    assert said.count("\n") == 1
    assert words.split()[0] in said


def test_what_a_person_can_mend_ends_in_one_line_and_status_1(tmp_path):
    for words in (("--data", tmp_path / "nowhere"), ("--data", "digits", "--model", "resnet81")):
        ended = program("train", *words, "--out", tmp_path / "out")
        assert (ended.returncode, ended.stderr.count("\n")) == (1, 1), ended.stderr
        assert str(words[-1]) in ended.stderr


def test_help_needs_no_torch():
    script = "import sys, jobs.train as t\ntry: t.main(['--help'])\nexcept SystemExit: print('torch' in sys.modules)"
    answer = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert answer.stdout.endswith("False\n")
    assert issubclass(TrainingError, JobsError)
    assert train_program.__doc__


def test_tensorboard_is_off_unless_asked_for_and_says_what_it_needs(tmp_path):
    asked = replace(settings(tmp_path), tensorboard=True)
    try:
        import tensorboard  # noqa: F401
    except ImportError:
        with pytest.raises(TrainingError, match="pip install tensorboard"):
            run(asked)
    else:
        run(asked)
        assert list((tmp_path / "tensorboard").iterdir())


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
def test_training_on_a_gpu_leaves_weights_that_load_without_one(tmp_path, digits):
    accuracy = run(replace(settings(tmp_path, "small", precision="auto", layout="auto"), device="cuda"))
    assert evaluate(load_model(tmp_path)[0], digits.test) == pytest.approx(accuracy, abs=0.01)
