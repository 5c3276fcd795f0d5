"""The refiner, its bank of references, and the file that holds both."""

import json

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from hparams import REFINER_SIZES, hparams
from models import face_refiner
from models.engines import torch_networks
from models.engines.choice import Choice
from models.face_refiner import FaceRefiner
from models.inputs import lower_half
from models.reference_bank import ReferenceBank, choose_spread, describe, nearest, sharpness
from models.refiner import Refiner, enlarge
from utils import weight_files
from utils.devices import Precision
from utils.errors import InputError

FP32 = Choice("torch", "fp32", "cpu")
HP = hparams.override("refiner_size=192,refiner_width=0.125,refiner_references=2")


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


@pytest.mark.parametrize("size", REFINER_SIZES)
def test_an_untrained_refiner_gives_the_enlarged_face(size):
    generated, frames, references = inputs(size)
    with torch.inference_mode():
        assert torch.equal(Refiner(size, 0.125)(generated, frames, references), enlarge(generated, size))


def test_only_the_lower_half_is_refined():
    generated, frames, references = inputs()
    with torch.inference_mode():
        change = untrained()(generated, frames, references) - enlarge(generated, 192)
    assert change[:, :, :96].abs().max() == 0
    assert change[:, :, 96:].abs().mean() > 1e-3


def test_the_true_mouth_cannot_reach_the_result_but_the_upper_half_can():
    generated, frames, references = inputs()
    other_mouth, other_eyes = frames.clone(), frames.clone()
    lower_half(other_mouth).zero_()
    other_eyes[:, :, :96] = 0
    network = untrained()
    with torch.inference_mode():
        first, same, different = (network(generated, f, references) for f in (frames, other_mouth, other_eyes))
    assert torch.equal(first, same)
    assert not torch.allclose(first, different, atol=1e-3)


def test_the_order_of_the_references_does_not_count_but_what_they_show_does():
    generated, frames, references = inputs()
    network = untrained()
    with torch.inference_mode():
        first = network(generated, frames, references)
        assert torch.allclose(first, network(generated, frames, references.flip(1)), atol=1e-5)
        assert not torch.allclose(first, network(generated, frames, 1 - references), atol=1e-3)


def test_at_256_pixels_a_frame_takes_less_than_3_gflop():
    from torch.utils.flop_counter import FlopCounterMode

    generated, frames, references = inputs(256, references=4)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        Refiner(256)(generated[:1], frames[:1], references[:1])
    assert counter.get_total_flops() < 3e9


def test_the_nearest_references_show_the_mouth_that_was_generated():
    pictures = faces(8)
    small = np.stack([cv2.resize(picture, (96, 96), interpolation=cv2.INTER_AREA) for picture in pictures])
    chosen = nearest(describe(pictures, pictures), describe(pictures, small), 2)
    assert chosen[:, 0].tolist() == list(range(8))
    assert np.abs(chosen[:, 1] - np.arange(8)).max() == 1


def test_excluded_references_are_not_taken_and_a_small_bank_is_repeated():
    pictures = faces(4)
    bank, descriptors = describe(pictures, pictures), describe(pictures[:1], pictures[:1])
    assert nearest(bank, descriptors, 2, np.array([[True, True, False, False]])).tolist() == [[2, 3]]
    assert nearest(bank, descriptors, 6).tolist() == [[0, 1, 2, 3, 0, 1]]


def spread(pictures: np.ndarray, count: int) -> np.ndarray:
    return choose_spread(describe(pictures, pictures), np.array([sharpness(picture) for picture in pictures]), count)


def test_the_bank_keeps_different_mouths_and_leaves_blurred_ones_out():
    different = faces(4, 96)
    blurred = np.stack([cv2.GaussianBlur(picture, (0, 0), 4) for picture in different])
    repeated = np.concatenate((different[:1].repeat(6, axis=0), different[1:], blurred[:3]))
    chosen = spread(repeated, 4)
    assert {7, 8} <= set(chosen.tolist())
    assert not set(chosen.tolist()) & {9, 10, 11}
    assert spread(different, 10).tolist() == [0, 1, 2, 3]


def test_a_persons_file_gives_the_refiner_and_the_bank_back(tmp_path):
    path, network, pictures = tmp_path / "person.safetensors", untrained(), faces(3)
    face_refiner.save(path, network.state_dict(), HP, ReferenceBank(pictures), "abc")
    read = face_refiner.load(path, FP32)
    assert (read.size, read.generator, len(read.bank)) == (192, "abc", 3)
    assert np.abs(read.bank.pictures.astype(int) - pictures).mean() < 2
    small = np.stack([cv2.resize(picture, (96, 96)) for picture in pictures])
    ours = FaceRefiner(torch_networks.refiner(network, Precision("fp32", torch.device("cpu"))), HP)(
        small, pictures, read.bank
    )
    assert np.abs(read(small, pictures, read.bank).astype(int) - ours).max() <= 1
    assert ours.shape == (3, 192, 192, 3)


def test_a_file_without_a_bank_is_a_refiner_of_anyone_and_another_network_is_refused(tmp_path, generator):
    face_refiner.save(tmp_path / "any.safetensors", untrained().state_dict(), HP, None, "")
    assert face_refiner.load(tmp_path / "any.safetensors", FP32).bank is None
    with pytest.raises(InputError, match="is a generator"):
        face_refiner.load(generator, FP32)


def test_other_sizes_of_refined_faces_are_refused():
    with pytest.raises(InputError, match="choose from 192, 256, 384, 512"):
        hparams.override("refiner_size=200")


def bank_file(path, pictures: dict):
    """A person's file with these tensors as its bank."""
    state = {name: tensor.half() for name, tensor in untrained().state_dict().items()}
    weight_files.write_safetensors(path, state | pictures, {"hparams": json.dumps(HP.to_dict())})
    return path


def webp(size: int) -> torch.Tensor:
    return torch.from_numpy(cv2.imencode(".webp", faces(2, size)[1])[1].ravel())


@pytest.mark.parametrize(
    ("tensor", "said"),
    [
        (torch.zeros(500, dtype=torch.uint8), "bank.0001 is no WebP picture of 192x192"),
        (torch.zeros(500), "bank.0001 is no WebP picture of 192x192"),
        (webp(256), "bank.0001 is 256x256 pixels large, expected 192x192"),
        (webp(192)[:-40], "bank.0001 is no WebP picture of 192x192 pixels, or is damaged"),
    ],
    ids=["no picture", "type", "size", "cut off"],
)
def test_a_damaged_bank_is_an_error_that_names_the_file(tmp_path, tensor, said):
    path = bank_file(tmp_path / "person.safetensors", {"bank.0000": webp(192), "bank.0001": tensor})
    with pytest.raises(InputError, match=f"person.safetensors: its reference bank cannot be used: .*{said}"):
        face_refiner.load(path, FP32)


def test_a_picture_that_takes_gigabytes_is_refused_unopened(tmp_path, monkeypatch):
    large = webp(8000)
    monkeypatch.setattr(Image.Image, "convert", None)
    with pytest.raises(InputError, match="8000x8000 pixels large"):
        face_refiner.load(bank_file(tmp_path / "large.safetensors", {"bank.0000": large}), FP32)


@pytest.mark.parametrize("width", [0.05, 0.3, 0.7])
def test_a_refiner_of_any_width_works(width):
    with torch.inference_mode():
        assert Refiner(192, width)(*inputs()).shape == (2, 3, 192, 192)


def test_weights_of_another_size_name_the_values_to_change(tmp_path):
    path = tmp_path / "other.safetensors"
    face_refiner.save(path, untrained(256).state_dict(), HP, None, "")
    with pytest.raises(InputError, match=r"--hparams refiner_size=.*refiner_width="):
        face_refiner.load(path, FP32)


def test_no_reference_that_is_excluded_comes_in_where_few_are_left():
    pictures = faces(5)
    bank = describe(pictures, pictures)
    excluded = np.array([[False, True, True, True, True], [True, True, False, False, True]])
    assert nearest(bank, bank[:2], 4, excluded).tolist() == [[0, 0, 0, 0], [2, 3, 2, 3]]
