"""Pictures in, pictures out: what the network is given and how its output is rounded."""

import cv2
import numpy as np
import pytest
import torch

from media.reader import VideoReader
from models import Wav2Lip, published
from models.batched_generator import fold_batch_norms, generate_faces
from models.checkpoint import load_network
from utils.devices import Precision


class Recorder(torch.nn.Module):
    """Generates one level, between two whole ones, and keeps its inputs."""

    def __init__(self):
        super().__init__()
        self.level = torch.nn.Parameter(torch.tensor(10.6 / 255))
        self.inputs = ()

    def forward(self, mel, faces):
        self.inputs = mel, faces
        return self.level.expand(len(faces), 3, *faces.shape[2:])


def test_levels_are_rounded_and_the_lower_half_is_hidden_from_the_network():
    rng = np.random.default_rng(0)
    faces, references = (rng.integers(1, 256, (2, 96, 96, 3), np.uint8) for _ in range(2))
    mels = rng.normal(size=(2, 1, 80, 16)).astype(np.float32)
    network = Recorder()
    generated = generate_faces(network, faces, references, mels, Precision("fp32", torch.device("cpu")))
    assert generated.dtype == np.uint8
    assert (generated == 11).all()
    mel, given = network.inputs
    assert np.array_equal(mel, mels)
    pictures = (given * 255).round().byte().permute(0, 2, 3, 1).numpy()
    assert np.array_equal(pictures[:, :48, :, :3], faces[:, :48])
    assert (pictures[:, 48:, :, :3] == 0).all()
    assert np.array_equal(pictures[..., 3:], references)


@pytest.mark.skipif(not published.BUNDLED_GENERATOR.exists(), reason="the bundled weights are not there")
def test_folded_and_half_precision_networks_draw_what_the_plain_one_draws(talking):
    network, _ = load_network(published.BUNDLED_GENERATOR, Wav2Lip)
    faces = [cv2.resize(frame.image[57:177, 178:273], (96, 96)) for frame in VideoReader(talking).frames()][:16]
    mels = np.random.default_rng(0).uniform(-4, 2, (16, 1, 80, 16)).astype(np.float32)
    precision = Precision("fp32", torch.device("cpu"))
    plain = generate_faces(network, np.stack(faces), np.stack(faces), mels, precision).astype(float)

    def psnr(name):
        network, _ = load_network(published.BUNDLED_GENERATOR, Wav2Lip)
        ready = fold_batch_norms(network, Precision(name, precision.device))
        drawn = generate_faces(ready, np.stack(faces), np.stack(faces), mels, precision)
        return 10 * np.log10(255**2 / (np.mean((drawn - plain) ** 2) + 1e-9))

    assert psnr("fp32") > 60
    assert psnr("bf16") > 40
