"""A run that was killed or stopped goes on as if nothing had happened; a checkpoint that does not fit is refused."""

import importlib
import json
import os
import random
import resource
import shutil
import signal
import subprocess
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from conftest import CONTEXT, FIXED, PINNED, same, settings, start

from jobs import finetune
from jobs.config.recipe import Recipe
from jobs.errors import CheckpointError
from jobs.models import build
from jobs.train import main, run
from jobs.training import fit
from jobs.training.checkpoint import Checkpoints, load_checkpoint
from jobs.training.state import Plan

pytestmark = pytest.mark.timeout(400)  # each kill takes a process that loads torch
KILLS = int(os.environ.get("KILLS", "2"))
EPOCHS, STEPS = 4 * KILLS, 5  # a kill comes within 12 of the 20 steps that there are for each


@pytest.fixture(scope="module")
def words(few_files: Path) -> list[str]:
    """The command line of a run that saves after every few steps."""
    more = ["--model", "lenet", "--epochs", str(EPOCHS), "--save-every", "0.01s", "--crop", "1", "--ema", "0.9"]
    return [*PINNED, "--data", str(few_files), "--batch-size", "64", *more]


@pytest.fixture(scope="module")
def whole(words: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was never stopped."""
    out = tmp_path_factory.mktemp("whole")
    main([*words, "--out", str(out)])
    return out


def last_step(out: Path) -> int:
    """Return the step of the newest checkpoint, 0 if there is none."""
    latest = Checkpoints(out / "checkpoints").latest()
    return int(latest.name.removeprefix("step-")) if latest else 0


def test_epochs_shorter_than_the_interval_are_saved_too(few, tmp_path, monkeypatch):
    now_s = [1000.0]
    monkeypatch.setattr("jobs.training.fit.time", SimpleNamespace(monotonic=lambda: now_s[0]))
    store = Checkpoints(tmp_path / "checkpoints", every_s=60.0)
    latest = []
    for _ in fit.fit(
        build("linear", few), Plan(few, Recipe(epochs=5, batch_size=64, lr=0.01, **FIXED), CONTEXT, store=store)
    ):
        latest.append(last_step(tmp_path))
        now_s[0] += 25.0
    assert latest == [0, 0, 0, 3 * STEPS + 1, 5 * STEPS]


def metrics(out: Path) -> list[tuple[float, ...]]:
    lines = map(json.loads, (out / "metrics.jsonl").read_text().splitlines())
    return [(line["epoch"], line["train_loss"], line["accuracy"]) for line in lines]


def kill_after(process: "subprocess.Popen[str]", out: Path, step: int) -> None:
    """Kill a run as soon as its checkpoint of this step, or a later one, is there."""
    deadline = time.monotonic() + 120
    while last_step(out) < step:
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline
        time.sleep(0.002)
    process.kill()
    process.communicate()


def test_a_run_killed_again_and_again_ends_as_one_that_never_was(tmp_path, words, whole, capsys):
    draw = random.Random(7)
    for _ in range(KILLS):
        process = start("-m", "jobs.train", *words, "--out", tmp_path, "--resume", "auto")
        kill_after(process, tmp_path, last_step(tmp_path) + draw.randint(1, 12))
        assert process.returncode == -signal.SIGKILL
        assert last_step(tmp_path) < EPOCHS * STEPS
    main([*words, "--out", str(tmp_path), "--resume", "auto"])
    assert "resuming from" in capsys.readouterr().out
    assert same(tmp_path, whole)
    assert metrics(tmp_path) == metrics(whole)


def test_sigterm_finishes_the_step_saves_and_exits_143(tmp_path, words, whole, monkeypatch, capsys):
    saved: list[Path] = []
    save = Checkpoints.save

    def save_and_signal(*given: object) -> Path:
        saved.append(save(*given))  # type: ignore[arg-type]
        if len(saved) == 1:
            signal.raise_signal(signal.SIGTERM)
        return saved[-1]

    with monkeypatch.context() as patch:
        patch.setattr(Checkpoints, "save", save_and_signal)
        with pytest.raises(SystemExit) as end:
            main([*words, "--out", str(tmp_path)])
    assert end.value.code == 143
    assert "--resume auto continues" in capsys.readouterr().out
    steps = [int(path.name.removeprefix("step-")) for path in saved]
    assert steps == [steps[0], steps[0] + 1]
    main([*words, "--out", str(tmp_path / "elsewhere"), "--resume", str(tmp_path)])
    assert same(tmp_path / "elsewhere", whole)


@pytest.mark.parametrize(("number", "phase"), [(1, "head"), (2, "head"), (3, "step")])
def test_a_stop_while_the_last_layer_is_trained_resumes_there(
    tmp_path, few_files, trained, monkeypatch, capsys, number, phase
):
    more = [
        "--weights",
        str(trained / "model.safetensors"),
        "--model",
        "small",
        "--freeze-epochs",
        "2",
        "--epochs",
        "1",
    ]
    words = [*PINNED, "--data", str(few_files), "--batch-size", "64", "--save-every", "0.01s", *more]
    finetune.main([*words, "--out", str(tmp_path / "whole")])
    capsys.readouterr()
    take_step, steps = fit.take_step, iter(range(1, 100))

    def step_and_signal(*given: object) -> torch.Tensor:
        if next(steps) == 5 * number - 2:  # five steps an epoch: within its first, second, third
            signal.raise_signal(signal.SIGTERM)
        return take_step(*given)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(fit, "take_step", step_and_signal)
        with pytest.raises(SystemExit) as end:
            finetune.main([*words, "--out", str(tmp_path / "parts")])
    assert end.value.code == 143
    (left,) = (tmp_path / "parts" / "checkpoints").iterdir()
    assert left.name.startswith(phase)
    assert not (tmp_path / "parts" / "model.safetensors").exists()
    if phase == "head":
        with pytest.raises(SystemExit, match="made with --freeze-epochs; resume with that"):
            finetune.main([*words[:-4], "--epochs", "1", "--out", str(tmp_path / "parts"), "--resume", "auto"])
        with pytest.raises(SystemExit, match="made with --freeze-epochs; resume with that"):
            main([*words[:-4], "--epochs", "1", "--out", str(tmp_path / "parts"), "--resume", "auto"])
    capsys.readouterr()
    finetune.main([*words, "--out", str(tmp_path / "parts"), "--resume", "auto"])
    said = capsys.readouterr().out
    assert said.count("last layer: epoch") == (2 if phase == "head" else 0)
    assert same(tmp_path / "whole", tmp_path / "parts")
    assert metrics(tmp_path / "whole") == metrics(tmp_path / "parts")


def test_a_full_disk_leaves_the_last_good_checkpoint(tmp_path):
    store = Checkpoints(tmp_path)
    good = store.save(1, {"w": torch.ones(10)}, {"step": 1})
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    heard = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))  # what a disk without room does to a writer
    try:
        with pytest.raises(CheckpointError, match=f"last good checkpoint is {good}"):
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
    content = (path / "weights.safetensors").read_bytes()
    (path / "weights.safetensors").write_bytes(content[:-3])
    with pytest.raises(CheckpointError, match="corrupt"):
        load_checkpoint(path)


def test_a_checkpoint_of_another_run_is_refused(tmp_path, few_files):
    run(settings(tmp_path / "out", "lenet", few_files, epochs=1))
    resumed = replace(settings(tmp_path / "out", "lenet", few_files), resume="auto")
    with pytest.raises(CheckpointError, match=r"of another network: 'net.1.weight' is not in it, here \(10, 64\)"):
        run(replace(resumed, model="linear"))
    with pytest.raises(CheckpointError, match="no checkpoint found"):
        run(replace(resumed, resume=str(tmp_path / "nowhere")))
    for changed, message in (
        ({"seed": 1}, "made with --seed 0, not 1"),
        ({"optimizer": "sgd"}, "made with --optimizer adamw, not sgd"),
        ({"optimizer": "muon"}, "made with --optimizer adamw, not muon"),
        ({"ema": 0.9}, "made with --ema 0.0, not 0.9"),
    ):
        with pytest.raises(CheckpointError, match=message):
            run(replace(resumed, recipe=replace(resumed.recipe, **changed)))


def test_a_checkpoint_in_the_format_of_an_older_version_is_refused_by_name(tmp_path, few_files):
    run(settings(tmp_path, data=few_files, epochs=1))
    latest = Checkpoints(tmp_path / "checkpoints").latest()
    assert latest is not None
    state = torch.load(latest / "state.pt", weights_only=True)
    [state["optimizer"]] = state.pop("optimizers")
    del state["format"]
    torch.save(state, latest / "state.pt")
    with pytest.raises(CheckpointError, match=f"{latest}: refused: format 1, but this version reads 4"):
        run(replace(settings(tmp_path, data=few_files), resume="auto"))


def test_a_checkpoint_of_other_classes_or_images_is_refused_by_name(tmp_path, photos):
    chosen = settings(tmp_path / "out", "small", photos, epochs=1, batch_size=8)
    chosen = replace(chosen, config=replace(chosen.config, size=16))
    run(chosen)
    (photos / "is 2").rename(photos / "is -2")  # sorted first now: every name would be another's
    with pytest.raises(CheckpointError, match=r"number 0 was 'is 0', now it is 'is -2'.*--weights"):
        run(replace(chosen, resume="auto"))
    (photos / "is -2").rename(photos / "is 2")
    shutil.copy(photos / "is 0/0.png", photos / "is 0/more.png")
    for stopped in (0, 1):
        wanted = replace(chosen, resume="auto", recipe=replace(chosen.recipe, early_stop=stopped))
        with pytest.raises(CheckpointError, match=r"have changed since the checkpoint \(\d+ then, \d+ now\)"):
            run(wanted)
        (photos / "is 0/more.png").unlink(missing_ok=True)  # then, --early-stop alone changes what is trained on


def test_a_resumed_run_reads_its_weights_and_state_once(tmp_path, few_files, monkeypatch):
    run(settings(tmp_path, "lenet", few_files, epochs=1))
    read = []
    for name in ("torch.load", "jobs.training.checkpoint.load_file"):
        module, _, function = name.rpartition(".")
        found = getattr(importlib.import_module(module), function)
        monkeypatch.setattr(
            name, lambda path, *a, found=found, **b: read.append((path.name, b)) or found(path, *a, **b)
        )
    run(replace(settings(tmp_path, "lenet", few_files, epochs=2), resume="auto"))
    assert [name for name, options in read if not options.get("mmap")] == ["state.pt", "weights.safetensors"]


def test_a_run_that_is_over_goes_on_where_more_epochs_are_wished_for(tmp_path, few_files, capfd):
    run(settings(tmp_path, data=few_files, epochs=1))
    run(replace(settings(tmp_path, data=few_files, epochs=1), resume="auto"))
    assert capfd.readouterr().out.count("epoch 1/1") == 2  # told again, not trained
    run(replace(settings(tmp_path, data=few_files, epochs=3), resume="auto"))
    said = capfd.readouterr().out
    assert [f"epoch {n}/3" in said for n in (1, 2, 3)] == [True] * 3
    assert last_step(tmp_path) == 3 * STEPS
