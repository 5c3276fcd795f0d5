"""Numbers equal those of the published networks and helpers (tests/golden)."""

import json
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch

import audio
from face_detection import S3FD
from face_detection.track import smooth_boxes
from models import SyncNet_color, Wav2Lip, Wav2Lip_disc_qual
from training import losses

FOLDER = Path(__file__).parents[1] / "golden"
OUTPUTS = np.load(FOLDER / "golden.npz")
SHAPES = json.loads((FOLDER / "state_dicts.json").read_text())


def _generator(name: str) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(zlib.crc32(name.encode())))


def _parameter(key: str, shape: list[int]) -> torch.Tensor:
    rng = _generator("wav2lip-dev:" + key)
    if key.endswith("num_batches_tracked"):
        return torch.tensor(0)
    if key.endswith(("running_mean", "bias")):
        values = 0.1 * rng.standard_normal(shape)
    elif key.endswith("running_var") or len(shape) == 1:
        values = rng.uniform(0.5, 1.5, shape)
    else:
        values = rng.standard_normal(shape) * np.sqrt(1 / np.prod(shape[1:]))
    return torch.from_numpy(values.astype(np.float32))


def state_dict(network: str) -> dict[str, torch.Tensor]:
    return {key: _parameter(key, shape) for key, shape in SHAPES[network].items()}


def tensor(name: str, *shape: int) -> torch.Tensor:
    return torch.from_numpy(_generator("wav2lip-dev:input:" + name).random(shape, np.float32))


def loaded(network, name):
    network.load_state_dict(state_dict(name), strict=True)
    return network.eval()


def assert_close(actual, entry, tolerance=1e-4):
    assert np.abs(np.asarray(actual) - OUTPUTS[entry]).max() <= tolerance


@pytest.mark.slow
@torch.no_grad()
def test_generator_on_single_frames_and_on_windows():
    model = loaded(Wav2Lip(), "wav2lip")
    mel4, face4 = tensor("mel4", 2, 1, 80, 16) * 8 - 4, tensor("face4", 2, 6, 96, 96)
    assert_close(model(mel4, face4), "wav2lip_4d")
    mel5, face5 = tensor("mel5", 2, 5, 1, 80, 16) * 8 - 4, tensor("face5", 2, 6, 5, 96, 96)
    assert_close(model(mel5, face5), "wav2lip_5d")


@torch.no_grad()
def test_expert_its_losses_and_the_generators_sync_loss():
    expert = loaded(SyncNet_color(), "syncnet")
    mel = tensor("sync_mel", 3, 1, 80, 16) * 8 - 4
    audio_embedding, face_embedding = expert(mel, tensor("sync_face", 3, 15, 48, 96))
    assert_close(audio_embedding, "syncnet_audio")
    assert_close(face_embedding, "syncnet_face")
    assert_close(losses.cosine_bce(audio_embedding, face_embedding, torch.ones(3)), "sync_loss_in_sync")
    assert_close(losses.cosine_bce(audio_embedding, face_embedding, torch.zeros(3)), "sync_loss_off_sync")
    generated = tensor("gen_face", 3, 3, 5, 96, 96)
    assert_close(losses.sync_loss(expert, mel, generated, generated, face_weight=0.0), "generator_sync_loss")


@torch.no_grad()
def test_discriminator():
    disc = loaded(Wav2Lip_disc_qual(), "disc")
    assert_close(disc(tensor("disc_face", 2, 3, 5, 96, 96)), "disc")


@pytest.mark.parametrize("network", [Wav2Lip, SyncNet_color, Wav2Lip_disc_qual])
def test_a_narrow_network_has_the_published_keys(network):
    assert network(width=0.25).state_dict().keys() == network().state_dict().keys()
    parameters = [sum(p.numel() for p in network(width=w).parameters()) for w in (0.25, 1.0)]
    assert parameters[0] < parameters[1] / 12


def test_mel_spectrogram_whatever_the_block_size(monkeypatch):
    whole = audio.melspectrogram(OUTPUTS["wav"])
    assert_close(whole, "mel", 1e-3)
    monkeypatch.setattr(audio, "MEL_BLOCK", 50)
    assert np.array_equal(audio.melspectrogram(OUTPUTS["wav"]), whole)


def test_training_window_starts():
    columns = OUTPUTS["mel"].shape[1]
    for frame, start, usable, *frame_starts, frames_usable in OUTPUTS["train_windows"].tolist():
        assert audio.window_mel_start(frame) == start
        assert (start + 16 <= columns) == usable
        assert audio.frame_mel_starts(frame) == frame_starts
        assert (frame >= 1 and frame_starts[-1] + 16 <= columns) == frames_usable


@pytest.mark.parametrize("fps", ["23.976", "25.0", "60.0"])
def test_published_inference_starts(fps):
    columns = OUTPUTS["mel"].shape[1]
    expected = OUTPUTS[f"infer_starts_{fps}"].tolist()
    starts = [audio.dub_mel_start(i / float(fps), columns, published=True) for i in range(len(expected))]
    assert starts == expected
    assert starts.index(columns - 16) == len(starts) - 1 or starts[-2:] == [columns - 16] * 2


def test_box_smoothing():
    assert np.array_equal(smooth_boxes(OUTPUTS["smooth_in"]), OUTPUTS["smooth_out"])


@torch.no_grad()
def test_s3fd_heads_and_boxes():
    images = (tensor("s3fd_img", 2, 128, 160, 3).numpy() * 255).astype(np.uint8)
    detector = S3FD(state_dict("s3fd"))
    for i, head in enumerate(detector.heads(images)):
        assert_close(head, f"s3fd_head_{i:02d}")
    for boxes, entry in zip(detector.detect(list(images)), ("s3fd_boxes_0", "s3fd_boxes_1"), strict=True):
        assert boxes.shape == OUTPUTS[entry].shape
        assert_close(boxes, entry, 0.05)
