"""refiner_train.py: what it is trained on, what it learns, what it leaves."""

import copy
import json

import numpy as np
import pytest
import torch

from conftest import NARROW, NARROW_REFINER, where
from data.clip import Clip
from data.loading import open_clips
from data.sampling import Key
from data.sharp_faces import NEIGHBOURS, ClipBank, SharpFaces, sharp_face
from face_detection.crop import to_network_size
from models import Wav2Lip, face_refiner
from models.backend import Backend
from training.checkpoint import NUMBERED
from training.history import History
from utils import weight_files

REFINER = "refiner_train"
VALUES = f"{NARROW_REFINER},num_workers=0"
BY_PYTORCH = Backend("torch", "fp32", "cpu")
pytestmark = pytest.mark.usefixtures("short_evaluations")


@pytest.fixture
def clips(preprocessed) -> list[Clip]:
    return open_clips(preprocessed.root, "train", preprocessed.lists, NARROW)


def flags(preprocessed, folder, generator, expert) -> list:
    return [
        *where(preprocessed, folder), "--generator_path", generator, "--syncnet_checkpoint_path", expert, "--hparams",
        VALUES, "--precision", "fp32",
    ]  # fmt: skip


def test_the_generator_sees_the_face_that_is_to_be_restored_jittered_only_in_training(clips):
    training, evaluation = (SharpFaces(clips, NARROW, training=flag) for flag in (True, False))
    first, again, other = (training[Key(place, 5, 1)] for place in (0, 0, 1))
    for item in (first, other):
        assert item["target"].shape == (192, 192, 3)
        assert np.abs(to_network_size(item["target"], 96).astype(int) - item["frame"]).mean() < 3
        assert np.abs(item["reference"].astype(int) - item["frame"]).mean() > 0.5
    assert np.array_equal(first["target"], again["target"])
    assert not np.array_equal(first["target"], other["target"])
    item = evaluation[Key(0, 5, 1)]
    assert np.array_equal(item["target"], evaluation[Key(1, 5, 1)]["target"])
    assert np.array_equal(item["frame"], to_network_size(clips[0].picture(int(evaluation.rows[0][5])), 96))


def test_no_reference_is_a_neighbour_of_its_frame_and_a_clip_without_others_is_left_out(clips):
    bank = ClipBank(clips[:1], NARROW.override("refiner_bank=20"))
    row = int(bank.rows[7])
    near = np.flatnonzero(bank.excluded(clips[0], [row])[0])
    assert 7 in near
    assert all(abs(int(bank.rows[n]) - row) <= NEIGHBOURS for n in near)
    pictures = bank.pictures().pictures
    assert not any(np.array_equal(found, pictures[n]) for found in bank.references(clips[0], row) for n in near)
    short, shorter = copy.copy(clips[0]), copy.copy(clips[0])
    short.frames, shorter.frames = clips[0].frames[:14], clips[0].frames[:12]
    bank = ClipBank([short], NARROW.override("refiner_references=4,refiner_bank=20"))
    assert bank.serves(short)
    farthest = sharp_face(short, 13, 192)
    assert all(np.array_equal(picture, farthest) for picture in bank.references(short, 6))
    assert not ClipBank([shorter], NARROW.override("refiner_bank=20")).serves(shorter)


@pytest.mark.slow
def test_a_short_run_beats_enlarging_and_leaves_a_persons_file(script, preprocessed, generator, expert, tmp_path):
    more = "refiner_eval_interval=20,refiner_lr=0.004,refiner_ema=0"
    run = [REFINER, *flags(preprocessed, tmp_path, generator, expert), "--hparams", f"{VALUES},{more}"]
    assert script(*run, "--max_steps", 1).code == 1  # nothing is better yet
    assert (tmp_path / "best.pth").exists()
    assert not (tmp_path / "person.safetensors").exists()
    result = script(*run, "--max_steps", 20)
    assert result.code == 0, result.err
    start, _, end = json.loads((tmp_path / "summary.json").read_text(encoding="utf-8"))["evaluations"]
    assert end["scores"]["mouth_psnr"] > start["scores"]["mouth_psnr"] + 0.5
    person = face_refiner.load(tmp_path / "person.safetensors", BY_PYTORCH)
    assert len(person.bank) == 6
    assert (tmp_path / "samples" / "step000000020.png").exists()


@pytest.mark.slow
def test_a_refiner_of_anyone_keeps_no_bank_and_another_run_may_start_from_it(
    script, preprocessed, generator, expert, tmp_path, monkeypatch
):
    monkeypatch.setattr(History, "is_best", lambda *_: True)  # one step need not make anything better
    given = [*flags(preprocessed, tmp_path / "any", generator, expert), "--max_steps", 1, "--bank", "clip"]
    assert script(REFINER, *given).code == 0
    path = tmp_path / "any" / "person.safetensors"
    first = face_refiner.load(path, BY_PYTORCH)
    assert first.bank is None

    other = {"state_dict": Wav2Lip(NARROW.width).state_dict(), "hparams": NARROW.override("fmin=90").to_dict()}
    torch.save(other, tmp_path / "other.pth")
    own = [*flags(preprocessed, tmp_path / "own", tmp_path / "other.pth", expert), "--checkpoint_path", path,
           "--reset_optimizer", "--max_steps", 1]  # fmt: skip
    assert script(REFINER, *own).code == 0
    content = weight_files.read(tmp_path / "own" / NUMBERED.format(1))
    weights = first.network.module.network.state_dict()
    assert all(torch.allclose(content["state_dict"][name], weights[name], atol=1e-3) for name in weights)
    assert content["generator"] == weight_files.fingerprint(other["state_dict"])
    assert content["hparams"]["fmin"] == 90  # the generator's, whatever mel the other refiner was trained with
    assert "nothing to do" in script(REFINER, *own).error  # the same command resumes the run
    another = [*own, "--checkpoint_path", tmp_path / "any" / "best.pth"]
    assert "holds a run already" in script(REFINER, *another).error


@pytest.mark.slow
def test_a_resumed_refiner_is_the_same_to_the_bit_and_refuses_another_generator_or_bank(
    script, preprocessed, generator, expert, tmp_path
):
    given, whole = (flags(preprocessed, tmp_path / name, generator, expert) for name in ("run", "whole"))
    without = [part for part in given if part not in ("--generator_path", generator)]
    values = ["--hparams", f"{VALUES},refiner_eval_interval=100,cosine_lr=False"]
    assert script(REFINER, *whole, *values, "--max_steps", 2).code in (0, 1)  # 1 where nothing beat enlarging
    assert script(REFINER, *given, *values, "--max_steps", 1).code in (0, 1)
    resumed = script(REFINER, *without, "--max_steps", 2)
    assert resumed.code in (0, 1), resumed.err
    assert f"refines faces of {generator.resolve()}" in resumed.out
    states = [weight_files.read(tmp_path / name / NUMBERED.format(2))["state_dict"] for name in ("run", "whole")]
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    content = weight_files.read(generator)
    first = next(iter(content["state_dict"]))
    content["state_dict"][first] = content["state_dict"][first] * 1.01
    del content["source"]  # a path, which is no weight
    torch.save(content, tmp_path / "other.pth")
    other = script(REFINER, *without, "--generator_path", tmp_path / "other.pth", "--max_steps", 5)
    assert "another generator" in other.error
    of_another_kind = script(REFINER, *flags(preprocessed, tmp_path / "new", expert, expert))
    assert (of_another_kind.code, "is a lip-sync expert (SyncNet_color)" in of_another_kind.error) == (2, True)
    assert "another bank (person, here clip)" in script(REFINER, *without, "--bank", "clip").error
