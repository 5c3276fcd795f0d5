"""Every form that weights come in, what is wrong with a file in one line, and writing that a crash cannot spoil."""

import os
import pickle
import zipfile

import pytest
import safetensors.torch
import torch

from conftest import NARROW
from models import SyncNet_color, Wav2Lip, Wav2Lip_disc_qual
from models.torch_backend import load_network
from utils import weight_files
from utils.errors import InputError
from utils.files import sha256


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(1)
    return Wav2Lip(NARROW.width).eval()


def save_forms(network, folder):
    """The network's weights in every accepted form: name -> path."""
    state = network.state_dict()
    forms = {
        "published": {"state_dict": state, "optimizer": None, "global_step": 5, "global_epoch": 0},
        "wrapped": {"state_dict": {f"module.{name}": tensor for name, tensor in state.items()}},
        "bare": state,
        "bare wrapped": {f"module.{name}": tensor for name, tensor in state.items()},
    }
    paths = {name: folder / f"{name}.pth" for name in forms}
    for name, content in forms.items():
        torch.save(content, paths[name])
    paths["before zip"] = folder / "before zip.pth"
    torch.save(forms["published"], paths["before zip"], _use_new_zipfile_serialization=False)
    paths["safetensors"] = folder / "weights.safetensors"
    safetensors.torch.save_file(state, paths["safetensors"])
    paths["torchscript"] = folder / "traced.pt"
    example = (torch.zeros(1, 1, 80, 16), torch.zeros(1, 6, 96, 96))
    torch.jit.trace(network, example).save(str(paths["torchscript"]))
    weight_files.TORCHSCRIPT.add(sha256(paths["torchscript"]))
    return paths


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_every_form_gives_the_same_weights(network, tmp_path):
    wanted = network.state_dict()
    for name, path in save_forms(network, tmp_path).items():
        content = weight_files.read(path)
        assert content["state_dict"].keys() == wanted.keys(), name
        assert all(torch.equal(content["state_dict"][key], wanted[key]) for key in wanted), name
        assert content["global_step"] == (5 if name in ("published", "before zip") else 0)


class Evil:
    def __reduce__(self):
        return os.system, ("touch executed",)


def test_a_file_that_is_no_weights_says_what_it_is(network, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"state_dict": network.state_dict()}, "good.pth")
    whole = (tmp_path / "good.pth").read_bytes()

    safetensors.torch.save_file(network.state_dict(), "good.safetensors")
    files = {
        "page.pth": (b"<!DOCTYPE html><html>sign in</html>", "web page"),
        "cut.pth": (whole[: len(whole) // 2], "truncated"),
        "cut.safetensors": ((tmp_path / "good.safetensors").read_bytes()[:5000], "truncated"),
        "noise.pth": (bytes(range(256)) * 40, "no weight file"),
        "noise in pickle.pth": (b"\x80\x02h\x00.", "no weight file"),
        "code.pth": (pickle.dumps({"state_dict": Evil()}), "refused|no weight file"),
    }
    for name, (content, said) in files.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(InputError, match=said) as error:
            weight_files.read(tmp_path / name)
        assert str(tmp_path / name) in str(error.value)
    contents = {"refused for safety": Evil(), "no network weights": [torch.ones(1)]}
    for said, content in contents.items():
        torch.save({"state_dict": content}, "a.pth")
        with pytest.raises(InputError, match=said):
            weight_files.read(tmp_path / "a.pth")
    assert not (tmp_path / "executed").exists()
    with pytest.raises(InputError, match="no such file"):
        weight_files.read(tmp_path / "missing.pth")


def test_another_network_or_width_is_named(network):
    others = {SyncNet_color: "lip-sync expert", Wav2Lip_disc_qual: "visual-quality discriminator"}
    for other, kind in others.items():
        with pytest.raises(InputError, match=f"{kind}.*generator .Wav2Lip. is needed"):
            weight_files.load_into(network, other(NARROW.width).state_dict(), "k.pth")
    with pytest.raises(InputError, match="--hparams width="):
        weight_files.load_into(Wav2Lip(0.25), network.state_dict(), "k.pth")


def test_a_torchscript_archive_other_than_the_published_one_is_not_loaded(tmp_path, monkeypatch):
    save_forms(Wav2Lip(NARROW.width).eval(), tmp_path)
    monkeypatch.setattr(weight_files, "TORCHSCRIPT", set())
    with pytest.raises(InputError, match=r"TorchScript.*refused for safety"):
        weight_files.read(tmp_path / "traced.pt")
    with zipfile.ZipFile(tmp_path / "bomb.pt", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a/data.pkl", bytes(50_000_000))
    with pytest.raises(InputError, match="refused for safety"):
        weight_files.read(tmp_path / "bomb.pt")


WRITERS = {  # by the suffix
    ".pth": lambda path, state: weight_files.write(path, {"state_dict": state, "hparams": {"width": 0.5}}),
    ".safetensors": lambda path, state: weight_files.write_safetensors(path, state, {"hparams": '{"width": 0.5}'}),
}


@pytest.mark.parametrize("suffix", WRITERS)
def test_a_flipped_bit_is_found(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    WRITERS[suffix](path, {"a": torch.arange(10_000.0)})
    assert weight_files.read(path)["state_dict"]
    whole = path.read_bytes()
    for place in (whole.find(b"hparams") + 11, len(whole) * 2 // 3):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 2]) + whole[place + 1 :])
        with pytest.raises(InputError, match="damaged"):
            weight_files.read(path)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda tensor: tensor.index_fill(0, torch.tensor(0), torch.nan), "NaN"),
        (lambda tensor: tensor.long(), "int64"),
        (lambda tensor: tensor.to_sparse(), "sparse_coo"),
        (lambda tensor: torch.zeros(1).expand(tensor.shape), "no plain tensor"),
    ],
)
def test_weights_that_are_no_plain_finite_numbers_are_refused(network, tmp_path, change, said):
    state = network.state_dict()
    name = next(iter(state))
    torch.save({"state_dict": state | {name: change(state[name])}, "hparams": NARROW.to_dict()}, tmp_path / "a.pth")
    with pytest.raises(InputError, match=f"a.pth: {name} .*{said}"):
        load_network(tmp_path / "a.pth", "generator")
