"""The file that a discriminator starts from; what a run compiles."""

from pathlib import Path

import pytest
import torch

from conftest import NARROW, NARROW_TEXT, save_network
from hparams import hparams
from models import Wav2Lip, Wav2Lip_disc_qual
from runs import GENERATOR, where
from training.generator import GeneratorTraining
from training.network import TrainableNetwork
from training.options import GeneratorOptions
from training.run_directory import NUMBERED
from utils import weight_files
from utils.devices import Precision


@pytest.mark.parametrize("compiled", [True, False])
def test_with_compile_the_compiled_network_runs_and_the_plain_ones_weights_are_trained(monkeypatch, compiled):
    given, calls = [], []

    def compile_network(module, *_, **__):
        def run(*inputs, **settings):
            calls.append(inputs)
            return module(*inputs, **settings)

        given.append(module)
        return run

    monkeypatch.setattr(torch, "compile", compile_network)
    torch.manual_seed(0)
    module = torch.nn.Linear(3, 2)
    before = module.weight.detach().clone()
    hp = hparams.override(f"compile={compiled}")
    network = TrainableNetwork(module, hp, Precision("fp32", torch.device("cpu")), lr=0.1)
    inputs = torch.ones(4, 3)
    result = network(inputs)
    assert torch.equal(result, module(inputs))
    network.backward(result.sum())
    network.update(1, 0.0)
    if compiled:
        assert len(given) == len(calls) == 1
        assert given[0] is module
        assert calls[0][0] is inputs
    else:
        assert given == calls == []
    assert not torch.equal(module.weight, before)
    assert set(network.state()["state_dict"]) == {"weight", "bias"}  # of torch.compile no `_orig_mod.` is saved


def save_discriminator(path: Path, seed: int) -> dict[str, torch.Tensor]:
    """Save a discriminator as published checkpoints are; returns its weights."""
    torch.manual_seed(seed)
    state = Wav2Lip_disc_qual(NARROW.width).state_dict()
    torch.save({"state_dict": state, "optimizer": None, "global_step": 7, "global_epoch": 0}, path)
    return state


@pytest.fixture
def discriminator_at_start(preprocessed, expert, tmp_path):
    """discriminator_at_start(**settings) -> its weights before the first step of a run with --gan."""

    def weights(**settings) -> dict[str, torch.Tensor]:
        training = GeneratorTraining(
            GeneratorOptions(
                data_root=preprocessed.root, filelists_dir=preprocessed.lists, checkpoint_dir=tmp_path / "run",
                syncnet_checkpoint_path=expert, hparams=NARROW_TEXT, device="cpu", gan=True, **settings,
            )
        )  # fmt: skip
        return training.adversary.network.state_dict()

    return weights


def same(ours: dict[str, torch.Tensor], theirs: dict[str, torch.Tensor]) -> bool:
    return ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_without_a_given_discriminator_the_one_saved_with_the_generator_is_taken(
    discriminator_at_start, tmp_path, capsys
):
    generator = save_network(tmp_path / "mine.pth", Wav2Lip)
    beside = save_discriminator(tmp_path / "disc_mine.pth", seed=1)
    given = save_discriminator(tmp_path / "given.pth", seed=2)
    assert same(discriminator_at_start(checkpoint_path=generator), beside)
    assert same(discriminator_at_start(checkpoint_path=generator, disc_checkpoint_path=tmp_path / "given.pth"), given)
    (tmp_path / "disc_mine.pth").unlink()
    capsys.readouterr()
    anew = discriminator_at_start(checkpoint_path=generator)
    assert f"{tmp_path / 'disc_mine.pth'}: not found" in capsys.readouterr().out
    assert not same(anew, beside)
    assert not same(anew, given)


def test_a_run_that_resumes_keeps_its_own_discriminator(discriminator_at_start, tmp_path):
    (tmp_path / "run").mkdir()
    save_network(tmp_path / "run" / NUMBERED.format(7), Wav2Lip)
    own = save_discriminator(tmp_path / "run" / f"disc_{NUMBERED.format(7)}", seed=1)
    save_discriminator(tmp_path / "given.pth", seed=2)
    assert same(discriminator_at_start(disc_checkpoint_path=tmp_path / "given.pth"), own)


@pytest.mark.slow
@pytest.mark.long
def test_a_finetune_starts_the_discriminator_from_the_given_file(preprocessed, expert, generator, tmp_path, script):
    run = tmp_path / "run"
    start = save_discriminator(tmp_path / "given.pth", seed=1)
    values = f"{NARROW_TEXT},eval_windows=8,disc_initial_learning_rate=1e-30"  # one step changes nothing
    common = ["--syncnet_checkpoint_path", expert, "--checkpoint_path", generator, "--reset_optimizer", "--gan"]
    result = script(GENERATOR, *where(preprocessed, run), *common, "--disc_checkpoint_path", tmp_path / "given.pth",
                    "--hparams", values, "--precision", "fp32", "--max_steps", 1)  # fmt: skip
    assert result.code == 0, result.error
    saved = weight_files.read(run / f"disc_{NUMBERED.format(1)}")["state_dict"]
    assert saved.keys() == start.keys()
    assert all(torch.allclose(saved[name], start[name], rtol=0, atol=1e-20) for name in start)
