"""A network's passes are replayed as CUDA graphs or compiled where that pays, and compute the same."""

import copy
import json
import warnings
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch
from conftest import CONTEXT, FIXED, same, settings
from torch import Tensor, nn

from jobs.config.recipe import Recipe
from jobs.data import Dataset
from jobs.images.decoding import Files
from jobs.models import build
from jobs.optim.precision import Execution
from jobs.optim.runtime import Graphed
from jobs.train import main, run
from jobs.training.distributed import DistributedContext
from jobs.training.evaluation import predict
from jobs.training.fit import find_runtimes, fit
from jobs.training.state import Plan

needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
GPU = torch.device("cuda", 0)


def rehearse(model: nn.Module, given: tuple[Tensor, ...]) -> Callable[[Tensor], Tensor]:
    """Do what torch does before it records graphs: run the network some times. Then replay by running it again."""
    for _ in range(3):
        model(*given).sum()
        torch.rand(5)
    return model


@pytest.mark.parametrize("fails", [False, True])
def test_recording_leaves_norms_and_random_numbers_as_they_were(few: Dataset, monkeypatch, capsys, fails):
    if not fails:
        monkeypatch.setattr(torch.cuda, "make_graphed_callables", rehearse)
    torch.manual_seed(0)
    model = build("resnet6", few).train()  # with norms and dropout
    other = copy.deepcopy(model)
    graphed = Graphed(model)
    for images in (few.train.images[:16], few.train.images[16:32], few.train.images[:7]):
        torch.manual_seed(1)
        found = graphed(images)
        torch.manual_seed(1)
        assert torch.equal(found, other(images))
    assert all(torch.equal(one, two) for one, two in zip(model.buffers(), other.buffers(), strict=True))
    assert capsys.readouterr().out.count("without CUDA graphs: ") == fails


def test_graphs_are_for_one_process_and_batches_of_one_shape(few):
    plan = Plan(few, Recipe(lr=0.01, **FIXED), DistributedContext(GPU))
    assert plan.graph_obstacle == ""
    assert find_runtimes(plan) == ["eager", "graph"]
    assert find_runtimes(replace(plan, recipe=replace(plan.recipe, compile=True))) == ["eager", "graph", "compile"]
    assert find_runtimes(replace(plan, recipe=replace(plan.recipe, runtime="compile"))) == ["compile"]
    files = replace(few, train=replace(few.train, images=Files((Path("a.jpg"),), 8, 1)))
    for other, reason in (
        (replace(plan, context=CONTEXT), "not a GPU"),
        (replace(plan, context=DistributedContext(GPU, world=2)), "processes"),
        (replace(plan, recipe=replace(plan.recipe, accumulate=2)), "accumulated"),
        (replace(plan, recipe=replace(plan.recipe, progressive=0.5)), "size changes"),
        (replace(plan, data=files), "decoded during training"),
    ):
        assert reason in other.graph_obstacle
        assert find_runtimes(other) == ["eager"]


def test_a_run_with_graphs_is_repeated_without_a_gpu(tmp_path, few_files, capsys):
    for name, runtime in (("one", "eager"), ("two", "graph")):
        run(settings(tmp_path / name, "small", few_files, epochs=1, runtime=runtime))
    assert "without CUDA graphs: the device is not a GPU" in capsys.readouterr().out
    assert same(tmp_path / "one", tmp_path / "two")


@pytest.fixture
def quick_compiler(monkeypatch):
    """torch.compile without its code generator, which takes a minute."""
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="eager"))


@pytest.mark.parametrize(("compiled_s", "kept"), [(0.5, "compile"), (0.99, "eager"), (2.0, "eager")])
def test_compiling_is_kept_where_it_pays_and_a_repetition_does_not_try_again(
    tmp_path, few_files, monkeypatch, capsys, quick_compiler, compiled_s, kept
):
    def took(*given: object) -> float:
        execution = given[-1]
        assert isinstance(execution, Execution)
        return compiled_s if execution.runtime == "compile" else 1.0

    words = ["--data", str(few_files), "--epochs", "1", "--batch-size", "64", "--device", "cpu", "--model", "lenet"]
    with monkeypatch.context() as patch:
        patch.setattr("jobs.optim.precision.time_step", took)
        main([*words, "--compile", "--out", str(tmp_path / "one")])
    assert f"runtime {kept} (images/s: eager 64, compile {64 / compiled_s:,.0f})" in capsys.readouterr().out
    assert json.loads((tmp_path / "one/args.json").read_text())["runtime"] == kept
    monkeypatch.setattr("jobs.optim.precision.time_step", lambda *_: pytest.fail("timed again"))
    main(["--like", str(tmp_path / "one"), "--device", "cpu", "--out", str(tmp_path / "two")])
    assert same(tmp_path / "one", tmp_path / "two")


def test_a_compiler_that_fails_costs_one_line(few, monkeypatch, capsys):
    def refuse(model: nn.Module) -> Callable[[Tensor], Tensor]:
        def call(images: Tensor) -> Tensor:
            raise RuntimeError("no C++ compiler found\nand more")

        return call

    monkeypatch.setattr(torch, "compile", refuse)
    plan = Plan(few, Recipe(epochs=1, batch_size=64, lr=0.01, compile=True, **FIXED), CONTEXT)
    list(fit(build("lenet", few), plan))
    assert "torch.compile failed: no C++ compiler found\nruntime eager" in capsys.readouterr().out


def train_on_gpu(data: Dataset, **recipe: object) -> tuple[nn.Module, float]:
    """Return the network and its accuracy after training on the GPU."""
    torch.manual_seed(0)
    chosen = Recipe(**{"epochs": 2, "batch_size": 64, "lr": 0.01, "optimizer": "muon", "flip": True, **recipe})  # type: ignore[arg-type]
    *_, (metrics, kept) = fit(build("resnet6", data), Plan(data, chosen, DistributedContext(GPU)))
    assert kept is not None
    return kept, metrics.score


@needs_cuda
def test_graphs_on_a_gpu_train_the_same_network(digits: Dataset, capsys):
    found = [train_on_gpu(digits, runtime=runtime) for runtime in ("eager", "graph")]
    assert "without CUDA graphs" not in capsys.readouterr().out
    chances = [predict(network, digits.test) for network, _ in found]
    assert (chances[0].argmax(1) == chances[1].argmax(1)).float().mean() > 0.95
    assert min(accuracy for _, accuracy in found) > 0.9


@needs_cuda
@pytest.mark.parametrize("runtime", ["eager", "graph"])
def test_no_step_on_a_gpu_waits_for_it(few: Dataset, runtime):
    wide = {
        "crop": 1,
        "zoom": 0.2,
        "erase": 0.2,
        "cutmix": 0.4,
        "ema": 0.9,
        "clip": 1.0,
        "epochs": 1,
        "runtime": runtime,
    }
    counts = []
    for images in (64, 320):
        data = replace(few, train=few.train.take(torch.arange(images)))
        torch.cuda.set_sync_debug_mode("warn")
        try:
            with warnings.catch_warnings(record=True) as waits:
                warnings.simplefilter("always")
                train_on_gpu(data, batch_size=16, **wide)
        finally:
            torch.cuda.set_sync_debug_mode("default")
        counts.append(sum("synchroniz" in str(wait.message) for wait in waits))
    assert counts[0] == counts[1], "4 steps, and 20"


@needs_cuda
def test_graphs_start_less_on_a_gpu(few: Dataset):
    from torch.profiler import ProfilerActivity, profile

    counts = {}
    for runtime in ("eager", "graph"):
        with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as profiled:
            train_on_gpu(few, epochs=4, batch_size=32, runtime=runtime, optimizer="adamw")
        counts[runtime] = sum(event.name == "cudaLaunchKernel" for event in profiled.events())
    assert counts["graph"] < 0.6 * counts["eager"], counts
