"""Training on real images, small enough for seconds: scikit-learn's digits, and Fashion-MNIST where it is installed."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from jobs.data import INSTALLED, Dataset, digits
from jobs.fit import TrainingError, evaluate
from jobs.model import SmallCNN
from jobs.train import Settings, main, parse, run

ROOT = Path(__file__).parent.parent
needs_debian = pytest.mark.skipif(not INSTALLED.is_dir(), reason="Debian's dataset-fashion-mnist is not installed")


@pytest.fixture(scope="module")
def data() -> Dataset:
    return digits()


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(out=tmp_path / "out", epochs=3, batch_size=32)


def program(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "jobs.train", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)


def reload(path: Path) -> SmallCNN:
    model = SmallCNN()
    model.load_state_dict(torch.load(path, weights_only=True))
    return model


def test_a_quick_run_on_digits_learns_to_read_them(settings: Settings, data: Dataset) -> None:
    assert run(replace(settings, quick=True), data) > 0.85


def test_the_saved_weights_score_exactly_what_was_reported(settings: Settings, data: Dataset) -> None:
    accuracy = run(settings, data)
    # channels_last as in training: another layout may sum in another order
    model = reload(settings.out / "model.pt").to(memory_format=torch.channels_last)
    assert evaluate(model, data.test_images, data.test_labels) == accuracy


def test_accuracy_does_not_depend_on_the_batch_it_is_measured_in(settings: Settings, data: Dataset) -> None:
    run(settings, data)
    model = reload(settings.out / "model.pt")
    one, other = (evaluate(model, data.test_images, data.test_labels, size) for size in (7, 360))
    assert one == other


def test_metrics_hold_one_object_per_epoch(settings: Settings, data: Dataset) -> None:
    accuracy = run(settings, data)
    epochs = [json.loads(line) for line in (settings.out / "metrics.jsonl").read_text().splitlines()]
    assert [epoch["epoch"] for epoch in epochs] == [1, 2, 3]
    assert all(set(e) == {"epoch", "train_loss", "test_accuracy", "images_per_s", "seconds"} for e in epochs)
    assert epochs[-1]["test_accuracy"] == accuracy
    assert epochs[-1]["train_loss"] < epochs[0]["train_loss"]


def test_arguments_are_kept_with_the_result(settings: Settings, data: Dataset) -> None:
    accuracy = run(settings, data)
    kept = json.loads((settings.out / "args.json").read_text())
    assert kept["batch_size"] == 32
    assert kept["device"] == "cpu"
    assert kept["torch"] == torch.__version__
    assert kept["data_set"] == "digits"
    assert kept["test_accuracy"] == accuracy


def test_the_path_of_the_model_is_printed_last(
    settings: Settings, data: Dataset, capsys: pytest.CaptureFixture[str]
) -> None:
    run(settings, data)
    assert capsys.readouterr().out.splitlines()[-1] == str(settings.out / "model.pt")


def test_one_seed_gives_the_same_weights_twice(settings: Settings, data: Dataset, tmp_path: Path) -> None:
    one, two = (replace(settings, out=tmp_path / name) for name in ("one", "two"))
    assert run(one, data) == run(two, data)
    weights = [torch.load(s.out / "model.pt", weights_only=True) for s in (one, two)]
    assert all(torch.equal(value, weights[1][name]) for name, value in weights[0].items())


def test_another_seed_gives_other_weights(settings: Settings, data: Dataset, tmp_path: Path) -> None:
    one, two = (replace(settings, seed=seed, out=tmp_path / str(seed)) for seed in (0, 1))
    run(one, data)
    run(two, data)
    weights = [torch.load(s.out / "model.pt", weights_only=True)["head.weight"] for s in (one, two)]
    assert not torch.equal(*weights)


def test_a_batch_larger_than_the_data_set_is_the_whole_of_it(settings: Settings, data: Dataset) -> None:
    assert 0 < run(replace(settings, batch_size=10_000), data) <= 1


def test_a_diverging_run_says_to_lower_the_learning_rate(settings: Settings, data: Dataset) -> None:
    with pytest.raises(TrainingError, match="--lr"):
        run(replace(settings, lr=1e30), data)


@pytest.mark.parametrize("size", [8, 28, 31])
def test_the_network_takes_any_image_size(size: int) -> None:
    assert SmallCNN()(torch.zeros(2, 1, size, size, dtype=torch.uint8)).shape == (2, 10)


def test_outputs_go_where_the_environment_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GPUJOB_OUTPUTS", "/results")
    assert parse([]).out == Path("/results")
    monkeypatch.delenv("GPUJOB_OUTPUTS")
    assert parse([]).out == Path("outputs")


@pytest.mark.parametrize(
    "arguments", ["--epochs 0", "--epochs x", "--batch-size 1", "--lr 0", "--lr nan", "--seed -1", "--device tpu"]
)
def test_a_bad_argument_ends_in_one_line_and_status_2(arguments: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(arguments.split())
    said = capsys.readouterr().err
    assert end.value.code == 2
    assert said.count("\n") == 1
    assert arguments.split()[0] in said


def test_the_program_ends_in_one_line_where_its_data_is_missing(tmp_path: Path) -> None:
    ended = program("--data", str(tmp_path), "--out", str(tmp_path / "out"))
    assert ended.returncode == 1
    assert ended.stdout == ""
    assert ended.stderr.count("\n") == 1
    assert str(tmp_path / "train-images-idx3-ubyte") in ended.stderr
    assert not (tmp_path / "out").exists()


@needs_debian
def test_the_program_learns_fashion_in_seconds(tmp_path: Path) -> None:
    ended = program("--quick", "--data", str(INSTALLED), "--out", str(tmp_path), "--device", "cpu")
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout.splitlines()[-1] == str(tmp_path / "model.pt")
    assert json.loads((tmp_path / "metrics.jsonl").read_text())["test_accuracy"] > 0.7
    assert {path.name for path in tmp_path.iterdir()} == {"model.pt", "metrics.jsonl", "args.json"}


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
def test_training_on_a_gpu_leaves_weights_that_load_without_one(settings: Settings, data: Dataset) -> None:
    accuracy = run(replace(settings, device="cuda"), data)
    reloaded = evaluate(reload(settings.out / "model.pt"), data.test_images, data.test_labels)
    assert reloaded == pytest.approx(accuracy, abs=0.01)
