"""One network under training: its optimizer, clipping, batch norms, the moving average of its weights."""

import pytest
import torch

from hparams import hparams
from training.network import TrainableNetwork, lr_factor
from utils.devices import Precision

FP32 = Precision("fp32", torch.device("cpu"))


def small(values: str = "", ema: float = 0.0) -> TrainableNetwork:
    torch.manual_seed(0)
    return TrainableNetwork(torch.nn.Linear(3, 2), hparams.override(values), FP32, 0.1, ema=ema)


@pytest.mark.parametrize("values", ["clip_norm=0.5", ""])
def test_gradients_are_scaled_down_to_the_norm_that_was_asked_for(values, monkeypatch):
    network, seen = small(values), []

    def step(*_):
        gradients = [parameter.grad for parameter in network.network.parameters()]
        seen.append(torch.cat([gradient.flatten() for gradient in gradients]).norm().item())

    monkeypatch.setattr(network.optimizer, "step", step)
    network.backward(40 * network(torch.ones(1, 3)).sum())
    network.update(1, 0.0)
    assert seen == [pytest.approx(0.5, rel=0.01)] if values else seen[0] > 70


def test_the_learning_rate_is_warmed_up_and_falls_to_zero():
    hp = hparams.override("warmup_steps=10,cosine_lr=True")
    factors = [lr_factor(step, (step - 1) / 100, hp) for step in range(1, 101)]
    assert factors[0] == pytest.approx(0.1)
    assert factors[9] == pytest.approx(1, abs=0.03)
    assert factors[50] == pytest.approx(0.5)
    assert factors[-1] < 0.001
    assert all(lr_factor(step, step / 100, hparams) == 1 for step in (1, 50, 100))


def test_a_step_in_parts_gives_the_gradient_of_the_whole(tmp_path):
    inputs, wanted = torch.randn(8, 3), torch.randn(8, 2)

    def trained(parts: int):
        torch.manual_seed(0)
        hp = hparams.override(f"accumulate={parts},clip_norm=0.01")
        device = torch.device("cpu")
        learner = TrainableNetwork(torch.nn.Linear(3, 2), hp, Precision("fp32", device), 0.1, ema=0.5)
        for step in (1, 2):
            for x, y in zip(inputs.chunk(parts), wanted.chunk(parts), strict=True):
                learner.backward((learner(x) - y).square().mean())
            learner.update(step, (step - 1) / 2)
        return learner

    whole, parts = trained(1), trained(4)
    assert torch.allclose(whole.network.weight, parts.network.weight, atol=1e-6)
    assert not torch.equal(whole.network.weight, whole.best_weights.weight)  # the average lags behind


def test_a_published_optimizer_state_is_loaded_with_this_runs_own_settings(tmp_path):
    network = torch.nn.Linear(3, 2)
    adam = torch.optim.Adam(network.parameters(), lr=0.5)
    network(torch.ones(1, 3)).sum().backward()
    adam.step()
    state = adam.state_dict()
    old = {name: state["param_groups"][0][name] for name in ("lr", "betas", "eps", "weight_decay", "amsgrad", "params")}
    for values in state["state"].values():
        values["step"] = 258_000  # a number, as old releases stored it, not a tensor
    content = {
        "state_dict": network.state_dict(),
        "optimizer": {**state, "param_groups": [old]},
        "global_step": 258_000,
    }
    trained = TrainableNetwork(torch.nn.Linear(3, 2), hparams, FP32, 2e-4)
    trained.restore(content, tmp_path / "a.pth", weights_only=False)
    trained.backward(trained(torch.ones(1, 3)).sum())
    trained.update(258_001, 0.86)
    (group,) = trained.optimizer.param_groups
    assert (group["fused"], group["lr"]) == (True, 2e-4)
    assert trained.optimizer.state_dict()["state"][0]["step"] == 258_001
