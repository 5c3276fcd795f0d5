"""A generator draws on a GPU what it draws on a CPU; optimizer states of elsewhere, the scaler of fp16, exact steps."""

import copy

import numpy as np
import pytest
import torch

from conftest import EXPERT, GENERATOR, NARROW, NARROW_TEXT, needs_gpus, where
from hparams import hparams
from models import SyncNet_color, Wav2Lip
from models.torch_backend import array_networks
from training.network import TrainableNetwork
from utils import weight_files
from utils.devices import Precision

CPU = torch.device("cpu")
ON_CPU_AND_GPU = pytest.mark.parametrize(
    "device", [CPU, pytest.param(torch.device("cuda"), marks=needs_gpus())], ids=["cpu", "cuda"]
)


@pytest.fixture(autouse=True)
def without_tf32():
    """On a GPU single precision is not rounded to TF32."""
    kinds = torch.backends.cudnn, torch.backends.cuda.matmul
    before = [kind.allow_tf32 for kind in kinds]
    for kind in kinds:
        kind.allow_tf32 = False
    yield
    for kind, was in zip(kinds, before, strict=True):
        kind.allow_tf32 = was


def with_scaler(device: torch.device) -> Precision:
    """fp16; on a CPU, which does not offer it, bf16 with the scaler of fp16."""
    precision = Precision("fp16" if device.type == "cuda" else "bf16", device)
    precision.name = "fp16"
    return precision


@ON_CPU_AND_GPU
def test_a_published_optimizer_state_goes_on_as_it_would_have_where_it_was_made(device, tmp_path):
    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.Flatten(), torch.nn.Linear(36, 2))
    adam, pictures = torch.optim.Adam(network.parameters(), lr=0.02), torch.rand(4, 3, 5, 5)
    for _ in range(3):
        network(pictures).square().sum().backward()
        adam.step()
        adam.zero_grad()
    state = copy.deepcopy(adam.state_dict())
    old = {name: state["param_groups"][0][name] for name in ("lr", "betas", "eps", "weight_decay", "amsgrad", "params")}
    for values in state["state"].values():
        values["step"] = int(values["step"])  # as old releases stored it
    path = tmp_path / "published.pth"
    torch.save(
        {"state_dict": network.state_dict(), "optimizer": {**state, "param_groups": [old]}, "global_step": 3}, path
    )

    trained = TrainableNetwork(copy.deepcopy(network), hparams, Precision("fp32", device), 0.01)
    trained.restore(weight_files.read(path), path, weights_only=False)
    for values in trained.optimizer.state.values():
        assert {values[name].device.type for name in ("step", "exp_avg", "exp_avg_sq")} == {device.type}
    (group,) = trained.optimizer.param_groups
    assert (group["fused"], group["lr"]) == (True, 0.01)  # this run's own settings
    adam.param_groups[0]["lr"] = 0.01
    network(pictures).square().sum().backward()
    adam.step()
    trained.backward(trained(pictures.to(device)).square().sum())
    trained.update(4, 0.0)
    for ours, theirs in zip(trained.network.parameters(), network.parameters(), strict=True):
        torch.testing.assert_close(ours.cpu(), theirs, rtol=1e-5, atol=1e-6)


@ON_CPU_AND_GPU
def test_a_step_whose_gradients_overflow_is_left_out_and_the_scale_is_halved_and_kept(device, tmp_path):
    torch.manual_seed(0)
    trained = TrainableNetwork(torch.nn.Linear(3, 2), hparams, with_scaler(device), 0.1)
    start, before = trained.scaler.get_scale(), trained.network.weight.detach().clone()
    inputs = torch.ones(1, 3, device=device)
    trained.backward(trained(inputs).float().square().sum() * 1e37)
    trained.update(1, 0.0)
    assert torch.equal(trained.network.weight, before)
    assert trained.scaler.get_scale() == start / 2
    trained.backward(trained(inputs).float().square().sum())
    trained.update(2, 0.0)
    assert not torch.equal(trained.network.weight, before)
    assert torch.isfinite(trained.network.weight).all()

    resumed = TrainableNetwork(torch.nn.Linear(3, 2), hparams, with_scaler(device), 0.1)
    content = copy.deepcopy(trained.state()) | {"global_step": 2}
    resumed.restore(content, tmp_path / "k.pth", weights_only=False)
    assert resumed.scaler.get_scale() == start / 2


@pytest.mark.parametrize("precision", [pytest.param(name, marks=needs_gpus()) for name in ("fp16", "auto")])
@pytest.mark.parametrize("script_name", [EXPERT, GENERATOR])
def test_a_run_on_a_gpu_goes_on_and_its_weights_load_without_one(
    preprocessed, expert, tmp_path, script, script_name, precision
):
    more = ["--syncnet_checkpoint_path", expert, "--gan"] if script_name == GENERATOR else []
    values = ["--hparams", f"{NARROW_TEXT},syncnet_wt=0.03", "--precision", precision, "--device", "cuda"]
    for steps in (3, 5):
        assert script(script_name, *where(preprocessed, tmp_path), *more, *values, "--max_steps", steps).code == 0
    saved = weight_files.read(tmp_path / "checkpoint_step000000005.pth")
    assert all(tensor.device == CPU for tensor in saved["state_dict"].values())
    assert bool(saved["scaler"]) == (precision == "fp16" or torch.cuda.get_device_capability() < (8, 0))
    network = {EXPERT: SyncNet_color, GENERATOR: Wav2Lip}[script_name](NARROW.width)
    network.load_state_dict(saved["state_dict"])
    assert all(torch.isfinite(weight).all() for weight in network.parameters())


def generate(device: torch.device, precision: str, faces: np.ndarray, mels: np.ndarray) -> np.ndarray:
    torch.manual_seed(0)
    here = Precision(precision, device)
    (network,) = array_networks("generator", Wav2Lip(NARROW.width), here)
    return network(faces, mels)


@pytest.mark.parametrize(
    ("precision", "levels"),
    [pytest.param(name, levels, marks=needs_gpus()) for name, levels in (("fp32", 1), ("bf16", 8), ("fp16", 2))],
)
def test_a_gpu_draws_what_a_cpu_draws(precision, levels):
    rng = np.random.default_rng(0)
    faces = rng.integers(0, 256, (11, 96, 96, 3), np.uint8)
    mels = rng.normal(size=(11, 1, 80, 16)).astype(np.float32)
    expected = generate(CPU, "fp32", faces, mels)
    drawn = generate(torch.device("cuda"), precision, faces, mels)
    assert np.abs(drawn.astype(int) - expected).max() <= levels
