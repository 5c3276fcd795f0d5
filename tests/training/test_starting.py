"""What a run takes from the checkpoint that it starts from, and what it leaves alone."""

import shutil

import pytest
import torch

from conftest import NARROW, NARROW_TEXT
from data.dataset import ExpertWindows
from data.loading import open_clips, training_loader
from hparams import HParams, hparams
from models import SyncNet_color, Wav2Lip_disc_qual
from models.checkpoint import hparams_of
from runs import EXPERT, GENERATOR, where
from training import losses
from training.expert import ExpertTraining
from training.network import TrainableNetwork
from utils import weight_files
from utils.devices import Precision
from utils.errors import InputError

CPU = torch.device("cpu")


def test_an_older_checkpoint_of_a_run_is_refused_where_newer_ones_would_be_mixed_in(preprocessed, tmp_path, script):
    run, other = tmp_path / "run", tmp_path / "other"
    values = f"{NARROW_TEXT},syncnet_checkpoint_interval=2,syncnet_eval_interval=100"
    assert script(EXPERT, *where(preprocessed, run), "--hparams", values, "--max_steps", 4).code == 0
    older = run / "checkpoint_step000000002.pth"
    refused = script(EXPERT, *where(preprocessed, run), "--checkpoint_path", older, "--max_steps", 6)
    assert refused.code == 2
    assert "holds a run up to checkpoint_step000000004.pth" in refused.error
    newest = run / "checkpoint_step000000004.pth"
    assert script(EXPERT, *where(preprocessed, run), "--checkpoint_path", newest, "--max_steps", 5).code == 0
    assert script(EXPERT, *where(preprocessed, other), "--checkpoint_path", older, "--max_steps", 3).code == 0
    again = script(EXPERT, *where(preprocessed, other), "--max_steps", 4)
    assert again.code == 0
    assert "goes on from" in again.out


def test_a_run_that_goes_on_elsewhere_deletes_none_of_that_directorys_files(preprocessed, tmp_path, script):
    run, other = tmp_path / "run", tmp_path / "other"
    values = f"{NARROW_TEXT},syncnet_checkpoint_interval=1,syncnet_eval_interval=100"
    assert script(EXPERT, *where(preprocessed, run), "--hparams", values, "--max_steps", 3, "--keep", 9).code == 0
    other.mkdir()
    theirs = other / "disc_checkpoint_step000000001.pth"  # of somebody else, numbered as one that `run` has written
    theirs.write_bytes(b"theirs")
    start = run / "checkpoint_step000000003.pth"
    common = [*where(preprocessed, other), "--checkpoint_path", start, "--max_steps", 6, "--keep", 1]
    assert script(EXPERT, *common).code == 0
    assert theirs.read_bytes() == b"theirs"
    assert len(list(run.glob("checkpoint_step*.pth"))) == 3


def test_a_finetune_inherits_the_network_and_the_mel_and_nothing_else(preprocessed, tmp_path, script):
    content = {"state_dict": SyncNet_color(NARROW.width).state_dict()}
    made_with = NARROW.override("num_workers=0,syncnet_lr=0.5,warmup_steps=77,cosine_lr=True,syncnet_eval_interval=3")
    torch.save(content | {"hparams": made_with.to_dict()}, tmp_path / "bundled.pth")
    inherited = hparams_of(weight_files.read(tmp_path / "bundled.pth"), of_network=True)
    assert inherited == HParams(width=NARROW.width)
    flags = ["--checkpoint_path", tmp_path / "bundled.pth", "--reset_optimizer", "--max_steps", 1]
    values = "num_workers=0,syncnet_batch_size=4,eval_windows=4"
    assert script(EXPERT, *where(preprocessed, tmp_path / "run"), *flags, "--hparams", values).code == 0
    saved = weight_files.read(tmp_path / "run" / "checkpoint_step000000001.pth")["hparams"]
    assert saved["width"] == NARROW.width
    assert (saved["syncnet_lr"], saved["warmup_steps"]) == (hparams.syncnet_lr, 0)
    assert saved["syncnet_eval_interval"] == hparams.syncnet_eval_interval


def test_a_published_optimizer_state_is_loaded_with_this_runs_own_settings(tmp_path, monkeypatch):
    network = torch.nn.Linear(3, 2)
    adam = torch.optim.Adam(network.parameters())
    network(torch.ones(1, 3)).sum().backward()
    adam.step()
    state = adam.state_dict()
    old = {name: state["param_groups"][0][name] for name in ("lr", "betas", "eps", "weight_decay", "amsgrad", "params")}
    for values in state["state"].values():
        values["step"] = int(values["step"])  # as old releases stored it
    content = {"state_dict": network.state_dict(), "optimizer": {**state, "param_groups": [old]}, "global_step": 1}
    loaded, real = [], torch.optim.Adam.load_state_dict
    monkeypatch.setattr(torch.optim.Adam, "load_state_dict", lambda self, s: loaded.append(s) or real(self, s))
    trained = TrainableNetwork(torch.nn.Linear(3, 2), hparams, Precision("fp32", CPU), 0.25)
    assert trained.restore(content, tmp_path / "k.pth", weights_only=False) == 1
    (group,) = loaded[0]["param_groups"]
    assert (group["fused"], group["lr"]) == (True, 0.25)  # known while step counts are put on the weights' device
    assert all(torch.is_tensor(values["step"]) for values in trained.optimizer.state.values())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_confident_wrong_discriminator_has_a_gradient_in_every_precision(dtype):
    logits = torch.tensor([[7.0]], dtype=dtype, requires_grad=True)
    loss = losses.real_fake_bce(logits, real=False)
    loss.backward()
    assert loss.item() == pytest.approx(7.0009, abs=0.01)
    assert logits.grad.item() == pytest.approx(1.0, abs=0.01)


def test_the_discriminators_logits_are_those_of_its_probabilities():
    torch.manual_seed(0)
    network, faces = Wav2Lip_disc_qual(NARROW.width).eval(), torch.rand(2, 3, 5, 96, 96)
    with torch.no_grad():
        torch.testing.assert_close(network(faces, logits=True).sigmoid(), network(faces))


def test_a_batch_that_cannot_be_divided_names_the_setting_of_its_training(preprocessed, expert, tmp_path, script):
    values = NARROW_TEXT.replace("batch_size=8", "batch_size=9") + ",accumulate=2"
    assert "--hparams syncnet_batch_size=9" in script(EXPERT, *where(preprocessed, tmp_path), "--hparams", values).error
    values = f"{NARROW_TEXT},accumulate=3"
    more = ["--syncnet_checkpoint_path", expert, "--hparams", values]
    assert "--hparams batch_size=4" in script(GENERATOR, *where(preprocessed, tmp_path), *more).error


def test_a_clip_that_is_listed_twice_counts_twice_and_is_opened_once(preprocessed, tmp_path):
    lists, root = tmp_path / "lists", tmp_path / "clips"
    lists.mkdir()
    shutil.copytree(preprocessed.root, root)
    for cache in root.rglob("*.npy"):
        cache.unlink()
    (lists / "train.txt").write_text("Zoë's talk/clip 0\n" * 8 + "Zoë's talk/clip 1\n", encoding="utf-8")
    clips = open_clips(root, "train", lists, NARROW)
    assert len(clips) == 9
    assert len({id(clip) for clip in clips}) == 2
    windows = ExpertWindows(clips, NARROW)
    assert len(windows) > 8 * len(ExpertWindows(clips[:1], NARROW))
    with pytest.raises(InputError, match="syncnet_batch_size=7"):
        training_loader(ExpertWindows(clips, NARROW.override("accumulate=2")), 7, 0)


def test_nothing_that_a_run_did_not_write_is_overwritten(preprocessed, expert, generator, tmp_path, script):
    shutil.copy(generator, tmp_path / "best.pth")
    before = (tmp_path / "best.pth").read_bytes()
    start = ["--checkpoint_path", tmp_path / "best.pth", "--reset_optimizer", "--max_steps", 1]
    own = [*where(preprocessed, tmp_path), "--syncnet_checkpoint_path", expert, "--hparams", NARROW_TEXT]
    result = script(GENERATOR, *own, *start)
    assert result.code == 2
    assert "holds best.pth, which would be overwritten; give another folder" in result.error
    refined = script(
        "refiner_train", *where(preprocessed, tmp_path), "--generator_path", tmp_path / "best.pth", "--max_steps", 1
    )
    assert "would be overwritten" in refined.error
    assert (tmp_path / "best.pth").read_bytes() == before
    assert {path.name for path in tmp_path.iterdir()} - {".lock"} == {"best.pth"}


def test_a_second_run_in_a_folder_is_refused_while_the_first_one_runs(preprocessed, tmp_path, script, monkeypatch):
    def meanwhile(training, *_):
        assert "in use by" in script(EXPERT, *where(preprocessed, tmp_path), "--hparams", NARROW_TEXT).error
        return {"loss": 0.5}

    monkeypatch.setattr(ExpertTraining, "evaluate", meanwhile)
    assert script(EXPERT, *where(preprocessed, tmp_path), "--hparams", NARROW_TEXT, "--max_steps", 1).code == 0


def test_a_folder_with_a_run_of_another_network_is_refused(preprocessed, expert, tmp_path, script):
    common = ["--hparams", NARROW_TEXT, "--max_steps", 1]
    assert script(EXPERT, *where(preprocessed, tmp_path), *common).code == 0
    result = script(GENERATOR, *where(preprocessed, tmp_path), "--syncnet_checkpoint_path", expert, *common)
    assert "holds a run of another network (lip-sync expert, here generator)" in result.error
    (tmp_path / "run.json").write_text("[", encoding="utf-8")
    assert "run.json: is damaged" in script(EXPERT, *where(preprocessed, tmp_path), "--max_steps", 2).error
    (tmp_path / "run.json").unlink()  # as left by versions that wrote none
    assert script(EXPERT, *where(preprocessed, tmp_path), "--max_steps", 2).code == 0
