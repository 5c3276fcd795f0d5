"""What the occlusion network is trained on, and that it learns from it."""

import numpy as np
import pytest
import torch

from data.filelists import listed_clips
from models.occlusion import OcclusionNet
from portrait import portrait
from training import occluders
from training import occlusion as training
from utils import weight_files

FACE = np.ascontiguousarray(portrait()[66:182:2, 168:272:2])


@pytest.mark.parametrize("kind", occluders.KINDS, ids=lambda kind: kind.__name__)
def test_things_are_drawn_over_the_mouth_and_dark_where_they_are_not(kind):
    rng = np.random.default_rng(0)
    pictures, coverages = map(np.stack, zip(*(kind(rng, FACE).drawn(48) for _ in range(40)), strict=True))
    assert coverages.min() >= 0 and coverages.max() <= 1
    assert (coverages[:, 30:44, 16:32].mean(axis=(1, 2)) > 0.1).mean() > 0.6
    assert np.abs(pictures[coverages == 0]).max() < 1
    assert 0.05 < np.median(coverages.mean(axis=(1, 2))) < 0.6


def test_items_are_faces_beside_their_median_and_what_is_covered(preprocessed):
    faces = training.CoveredFaces(listed_clips(preprocessed.lists, "train", preprocessed.root), seed=0)
    items = [item for item, _ in zip(faces, range(60), strict=False)]
    shown, medians, covered = map(np.stack, zip(*items, strict=True))
    assert shown.shape == medians.shape == (60, 48, 48, 3) and covered.shape == (60, 48, 48)
    assert shown.dtype == medians.dtype == np.uint8
    clean = covered.max(axis=(1, 2)) == 0
    assert 0.2 < clean.mean() < 0.55
    again = [item for item, _ in zip(faces, range(60), strict=False)]
    assert all(
        np.array_equal(a, b) for one, other in zip(items, again, strict=True) for a, b in zip(one, other, strict=True)
    )


@pytest.mark.slow
def test_a_short_training_writes_weights_that_the_detector_loads(preprocessed, tmp_path, monkeypatch):
    monkeypatch.setattr(training, "THINGS", 20)
    options = training.OcclusionOptions(
        data_root=preprocessed.root, filelists_dir=preprocessed.lists, minutes=0.05, out=tmp_path / "a.safetensors"
    )
    training.train_occlusion(options)
    network = OcclusionNet()
    content = weight_files.read(tmp_path / "a.safetensors")
    assert content["state_dict"]["occlusion_output.weight"].dtype == torch.float16
    weight_files.load_into(network, content["state_dict"], "a.safetensors")
