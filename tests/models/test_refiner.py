"""The refiner, its bank of references, and the file that holds both."""

import json

import cv2
import numpy as np
import pytest
import torch

from conftest import NARROW
from models import face_refiner
from models.backend import Backend
from models.face_refiner import FaceRefiner, ReferenceBank, choose_spread, describe, nearest
from models.refiner_network import Refiner, enlarge
from models.torch_backend import PictureRefiner, TorchNetwork, save_refiner
from utils import weight_files
from utils.devices import Precision
from utils.errors import InputError
from utils.images import lower_half, sharpness

FP32 = Backend("torch", "fp32", "cpu")


def untrained(size: int = 192) -> Refiner:
    """A refiner whose output layer is not zero."""
    torch.manual_seed(0)
    network = Refiner(size, 0.125).eval()
    torch.nn.init.normal_(network.output.weight, std=0.1)
    return network


def inputs(size: int = 192, references: int = 3) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    torch.manual_seed(1)
    return torch.rand(2, 3, 96, 96), torch.rand(2, 3, size, size), torch.rand(2, references, 3, size, size)


def faces(count: int, size: int = 192) -> np.ndarray:
    """Faces with mouths of different heights."""
    pictures = np.full((count, size, size, 3), 150, np.uint8)
    for number, picture in enumerate(pictures):
        mouth = size // 2, 3 * size // 4
        cv2.ellipse(picture, mouth, (size // 5, 2 + size * number // (8 * count)), 0, 0, 360, (40, 40, 90), -1)
    return pictures


def test_what_reaches_the_result_is_nothing_before_training_and_then_the_lower_half_but_not_the_true_mouth():
    generated, frames, references = inputs()
    other_mouth, other_eyes = frames.clone(), frames.clone()
    lower_half(other_mouth).zero_()
    other_eyes[:, :, :96] = 0
    network = untrained()
    with torch.inference_mode():
        assert torch.equal(Refiner(192, 0.3)(generated, frames, references), enlarge(generated, 192))
        refined = network(generated, frames, references)
        change = refined - enlarge(generated, 192)
        assert change[:, :, :96].abs().max() == 0  # only the lower half is refined
        assert change[:, :, 96:].abs().mean() > 1e-3
        assert torch.equal(refined, network(generated, other_mouth, references))  # the true mouth is not seen
        assert not torch.allclose(refined, network(generated, other_eyes, references), atol=1e-3)
        assert torch.allclose(refined, network(generated, frames, references.flip(1)), atol=1e-5)
        assert not torch.allclose(refined, network(generated, frames, 1 - references), atol=1e-3)


def test_the_nearest_references_show_the_mouth_that_was_generated():
    pictures = faces(8)
    small = np.stack([cv2.resize(picture, (96, 96), interpolation=cv2.INTER_AREA) for picture in pictures])
    bank = describe(pictures, pictures)
    chosen = nearest(bank, describe(pictures, small), 2)
    assert chosen[:, 0].tolist() == list(range(8))
    assert np.abs(chosen[:, 1] - np.arange(8)).max() == 1
    assert nearest(bank[:4], bank[:1], 6).tolist() == [[0, 1, 2, 3, 0, 1]]  # a small bank is repeated
    excluded = np.array([[False, True, True, True, True], [True, True, False, False, True]])
    assert nearest(bank[:5], bank[:2], 4, excluded).tolist() == [[0, 0, 0, 0], [2, 3, 2, 3]]


def spread(pictures: np.ndarray, count: int) -> list[int]:
    sharpnesses = np.array([sharpness(lower_half(picture, height_axis=-3)) for picture in pictures])
    return choose_spread(describe(pictures, pictures), sharpnesses, count).tolist()


def test_the_bank_keeps_different_mouths_and_leaves_blurred_ones_out():
    different = faces(4, 96)
    blurred = np.stack([cv2.GaussianBlur(picture, (0, 0), 4) for picture in different])
    chosen = set(spread(np.concatenate((different[:1].repeat(6, axis=0), different[1:], blurred[:3])), 4))
    assert {7, 8} <= chosen
    assert not chosen & {9, 10, 11}
    assert spread(different, 10) == [0, 1, 2, 3]


def test_a_persons_file_gives_the_refiner_and_the_bank_back(tmp_path, generator):
    path, network, pictures = tmp_path / "person.safetensors", untrained(), faces(3)
    save_refiner(path, network.state_dict(), NARROW, ReferenceBank(pictures), "abc")
    read = face_refiner.load(path, FP32)
    assert (read.size, read.generator, len(read.bank)) == (192, "abc", 3)
    assert np.abs(read.bank.pictures.astype(int) - pictures).mean() < 2
    small = np.stack([cv2.resize(picture, (96, 96)) for picture in pictures])
    plain = TorchNetwork(PictureRefiner(network), Precision("fp32", torch.device("cpu")), 2)
    ours = FaceRefiner(plain, NARROW)(small, pictures, read.bank)
    assert np.abs(read(small, pictures, read.bank).astype(int) - ours).max() <= 1
    assert ours.shape == (3, 192, 192, 3)
    save_refiner(path, network.state_dict(), NARROW, None, "")
    assert face_refiner.load(path, FP32).bank is None
    with pytest.raises(InputError, match="is a generator"):
        face_refiner.load(generator, FP32)


def webp(size: int) -> torch.Tensor:
    return torch.from_numpy(cv2.imencode(".webp", faces(2, size)[1])[1].ravel())


@pytest.mark.parametrize(
    ("tensor", "said"),
    [(torch.zeros(500), "no WebP picture"), (webp(192)[:-40], "no WebP picture"), (webp(8000), "8000x8000")],
    ids=["type", "cut off", "large"],
)
def test_a_damaged_bank_is_an_error_that_names_the_file(tmp_path, monkeypatch, tensor, said):
    path, state = tmp_path / "person.safetensors", untrained().half().state_dict()
    state |= {"bank.0000": webp(192), "bank.0001": tensor}
    weight_files.write_safetensors(path, state, {"hparams": json.dumps(NARROW.to_dict())})
    with pytest.raises(InputError, match=f"person.safetensors: .*bank.0001 .*{said}"):
        face_refiner.load(path, FP32)
