"""Scores of a generator: what is compared, and how well an expert tells sound from sound."""

import json

import numpy as np
import pytest
import torch

from hparams import hparams
from metrics.experts import Expert
from metrics.generators import sync_accuracy
from metrics.report import ONE_CLIP
from models.torch_backend import array_networks
from utils.devices import Precision

FP32 = Precision("fp32", torch.device("cpu"))


@pytest.mark.slow
def test_a_generator_is_scored_with_ceiling_floor_and_several_experts(
    preprocessed, generator, expert, tmp_path, script
):
    out = tmp_path / "generator.json"
    result = script(
        "evaluate", "--data_root", preprocessed.root, "--filelists_dir", preprocessed.lists, "--outfile", out,
        "--generator", generator, "--syncnet_checkpoint_path", expert, expert,
    )  # fmt: skip
    assert result.code == 0, result.err
    content = json.loads(out.read_text(encoding="utf-8"))
    assert len(content["experts"]) == result.out.count("sync accuracy") == 2
    rows = content["experts"][0]["sync"]
    assert rows.keys() == {  # a single clip is held out here
        "real footage", "one still frame", "dubbed with its own speech", "dubbed, published timing",
    }  # fmt: skip
    assert all(row["clips"] == 1 and 0 <= row["distance"] <= 1.42 for row in rows.values())
    assert rows["real footage"] != rows["one still frame"] != rows["dubbed with its own speech"]
    names = ("mouth_l1", "mouth_ssim", "follows", "motion", "contrast")
    assert [set(scores) for scores in content["likeness"].values()] == [set(names)] * 2
    assert content["l1_to_copying"] > 1  # random weights draw noise
    assert all(name in result.out for name in names)
    assert ONE_CLIP in result.out


class PerfectExpert(torch.nn.Module):
    """An expert that finds its own sound closest, always."""

    def embed_faces(self, faces):
        return torch.nn.functional.one_hot((faces[:, 6].mean((1, 2)) * 255).round().long(), 256).float()

    def embed_audio(self, mel):
        return torch.nn.functional.one_hot(mel[:, 0, 0, 0].round().long(), 256).float()


class GuessingExpert(torch.nn.Module):
    """An expert whose embeddings have nothing to do with what it is shown."""

    def __init__(self):
        super().__init__()
        self.rng = torch.Generator().manual_seed(0)

    def embed_faces(self, faces):
        return torch.nn.functional.normalize(torch.randn(len(faces), 64, generator=self.rng))

    embed_audio = embed_faces


class Talk:
    """A clip whose every frame and sound says which it is, to PerfectExpert."""

    faces = np.repeat(np.arange(40), 96 * 96 * 3).reshape(40, 96, 96, 3).astype(np.uint8)
    times = np.arange(40)
    mel = np.repeat((np.round(np.arange(160) / 3.2) + 2)[:, None], 80, axis=1).astype(np.float32)

    def window_rows(self, hp, per_frame_mels):
        return np.arange(36)


def test_a_perfect_expert_has_full_sync_accuracy_and_a_guessing_one_that_of_chance():
    perfect, guessing = (
        Expert(array_networks("expert", network, FP32), hparams, "") for network in (PerfectExpert(), GuessingExpert())
    )
    for late, least, most in ((0, 0.95, 1.0), (9, 0.0, 0.55)):
        talk = Talk()
        talk.mel = talk.mel + late
        found = sync_accuracy(perfect, [talk])
        assert least <= found["accuracy"] <= most, found
        assert least <= found["of_eight"] <= most, found
    found = sync_accuracy(guessing, [Talk()] * 100)
    assert found["windows"] == 3600
    assert (found["of_eight"], found["pairs"]) == pytest.approx((0.125, 0.5), abs=0.03)
