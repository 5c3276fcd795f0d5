"""One network under training: clipping, batch norms, the moving average of its weights."""

import copy

import pytest
import torch

from conftest import NARROW_TEXT
from hparams import hparams
from runs import EXPERT, where
from training.network import TrainableNetwork
from utils import weight_files
from utils.devices import Precision

FP32 = Precision("fp32", torch.device("cpu"))


def small(values: str = "", ema: float = 0.0) -> TrainableNetwork:
    torch.manual_seed(0)
    return TrainableNetwork(torch.nn.Linear(3, 2), hparams.override(values), FP32, 0.1, ema=ema)


@pytest.mark.parametrize(("values", "norm"), [("clip_norm=0.5", 0.5), ("", 70.0)])
def test_gradients_are_scaled_down_to_the_norm_that_was_asked_for(values, norm, monkeypatch):
    network, seen = small(values), []

    def step(*_):
        gradients = [parameter.grad for parameter in network.network.parameters()]
        seen.append(torch.cat([gradient.flatten() for gradient in gradients]).norm().item())

    monkeypatch.setattr(network.optimizer, "step", step)
    network.backward(40 * network(torch.ones(1, 3)).sum())
    network.update(1, 0.0)
    (found,) = seen
    assert found == pytest.approx(norm, rel=0.01) if values else found > norm


def test_frozen_batch_norms_keep_their_statistics_while_the_weights_learn():
    network = TrainableNetwork(
        torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.BatchNorm1d(2)),
        hparams.override("freeze_batch_norm=True"), FP32, 0.1,
    )  # fmt: skip
    norm, weight = network.network[1], network.network[1].weight.clone()
    network.train()
    network.backward(network(torch.rand(8, 3) + 5).square().sum())
    network.update(1, 0.0)
    assert torch.equal(norm.running_mean, torch.zeros(2))
    assert not torch.equal(norm.weight, weight)


def test_the_moving_average_follows_the_weights_and_goes_on_at_its_own_pace_after_a_resume(tmp_path):
    network = small(ema=0.9)
    for step in range(1, 201):
        network.backward(network(torch.ones(1, 3)).square().sum())
        network.update(step, step / 1000)
    averaged, trained = network.best_weights.weight, network.network.weight
    assert not torch.equal(averaged, trained)
    assert network.best_weights is not network.network
    resumed = small(ema=0.9)
    content = copy.deepcopy(network.state()) | {"global_step": 200}
    assert resumed.restore(content, tmp_path / "k.pth", weights_only=False) == 200
    for each in (network, resumed):
        each.backward(each(torch.full((1, 3), 2.0)).square().sum())
        each.update(201, 0.2)
    assert torch.equal(network.best_weights.weight, resumed.best_weights.weight)
    assert torch.equal(network.network.weight, resumed.network.weight)


def test_the_best_weights_that_are_kept_are_the_averaged_ones(preprocessed, tmp_path, script):
    values = f"{NARROW_TEXT},syncnet_ema=0.9,syncnet_eval_interval=4,syncnet_checkpoint_interval=4,syncnet_lr=0.001"
    assert script(EXPERT, *where(preprocessed, tmp_path), "--hparams", values, "--max_steps", 4).code == 0
    saved = weight_files.read(tmp_path / "checkpoint_step000000004.pth")
    history = {entry["step"]: entry["scores"]["loss"] for entry in saved["history"]}
    if history[4] > history[0]:
        pytest.skip("four steps made nothing better")
    best = weight_files.read(tmp_path / "best.pth")["state_dict"]
    assert all(torch.equal(best[name], saved["state_dict"][name]) for name in best)
    assert not all(torch.equal(best[name], saved["trained_state_dict"][name]) for name in best)
