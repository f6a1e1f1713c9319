"""torch's optimizers are set up per group of layers, and its average starts from the untrained weights."""

import copy

import pytest
import torch
from conftest import CONTEXT
from torch import nn
from torch.optim import SGD, AdamW

from jobs.config.recipe import Recipe
from jobs.data.dataset import Dataset
from jobs.models import build
from jobs.optim.muon import Muon
from jobs.optim.optimizers import Average, LayerGroup, make_optimizers


def make(model: nn.Module, **recipe: object) -> list[torch.optim.Optimizer]:
    return list(make_optimizers([LayerGroup([model], 0.1)], Recipe(**recipe)))  # type: ignore[arg-type]


@pytest.mark.parametrize(("name", "kind"), [("adamw", AdamW), ("sgd", SGD)])
def test_one_kernel_updates_all_weights_where_the_device_has_it(few: Dataset, name, kind):
    model = build("lenet", few)
    [optimizer] = make(model, optimizer=name)
    assert isinstance(optimizer, kind)
    assert optimizer.defaults["fused"]
    [elsewhere] = make(model.to("meta"), optimizer=name)
    assert not elsewhere.defaults["fused"]


@pytest.mark.parametrize("name", ["adamw", "sgd", "muon"])
def test_every_weight_is_updated_once_and_norms_and_biases_are_not_decayed(few: Dataset, name):
    model = build("small", few)
    groups = [group for each in make(model, optimizer=name, weight_decay=0.5) for group in each.param_groups]
    updated = [p for group in groups for p in group["params"]]
    assert len(updated) == len({id(p) for p in updated}) == len(list(model.parameters()))
    for group in groups:
        assert group["peak"] == 0.1
        assert all(group["weight_decay"] == (0.5 if p.dim() > 1 else 0.0) for p in group["params"])


def test_muon_takes_the_convolutions_of_features_and_adamw_the_rest(few: Dataset):
    model = build("small", few)
    muon, adamw = make(model, optimizer="muon")
    assert isinstance(muon, Muon)
    assert isinstance(adamw, AdamW)
    convolutions = [m.weight for m in model.modules() if isinstance(m, nn.Conv2d)]
    assert [id(p) for p in muon.param_groups[0]["params"]] == [id(p) for p in convolutions[1:]]


def test_frozen_weights_are_in_no_optimizer(few: Dataset):
    model = build("linear", few).requires_grad_(requires_grad=False)
    assert make(model) == []


def test_the_average_forgets_the_untrained_weights_faster_than_its_decay_says(few: Dataset):
    model = build("small", few).to(CONTEXT.device)
    average = Average(model, 0.5)
    expected = copy.deepcopy(model.net[-1].bias.detach())
    draw = torch.Generator().manual_seed(0)
    for decay in (1 / 10, 2 / 11, 3 / 12, 4 / 13):
        with torch.no_grad():
            model.net[-1].bias.copy_(torch.randn(10, generator=draw))
            model.net[0][-2].num_batches_tracked += 1
        average.update_parameters(model)
        expected = decay * expected + (1 - decay) * model.net[-1].bias.detach()
    assert torch.allclose(average.module.net[-1].bias, expected)
    assert average.module.net[0][-2].num_batches_tracked == 4
    assert not any(p.requires_grad for p in average.parameters())
    for _ in range(60):
        average.update_parameters(model)
    assert torch.allclose(average.module.net[-1].bias, model.net[-1].bias)
