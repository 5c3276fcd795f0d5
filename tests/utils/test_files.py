"""Files that the project writes are whole or not there; tables; every form of weights, and what is wrong with one."""

import errno
import json
import os
import pickle
import stat
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import safetensors.torch
import torch

from conftest import NARROW
from models import SyncNet_color, Wav2Lip, Wav2Lip_disc_qual
from models.torch_backend import load_network
from utils import files, weight_files
from utils.errors import InputError
from utils.files import (
    atomic_write,
    atomic_writes,
    exclusive_lock,
    read_json,
    read_table,
    sha256,
    write_json,
    write_text,
)

ROOT = Path(__file__).parent.parent.parent


def test_an_error_while_writing_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "Ü 1.json"
    write_json(path, {"a": "ä"})
    with pytest.raises(RuntimeError), atomic_write(path) as temporary:
        temporary.write_text("half")
        assert temporary.parent == path.parent
        assert temporary.suffix == ".json"
        raise RuntimeError
    assert json.loads(path.read_text(encoding="utf-8")) == {"a": "ä"}
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.skipif(os.name == "nt", reason="POSIX file modes")
def test_files_have_the_mode_that_the_umask_gives_whatever_writes_them(tmp_path):
    before = os.umask(0o027)
    try:
        write_text(tmp_path / "a.json", "{}")
        with atomic_write(tmp_path / "a.safetensors") as temporary:
            temporary.chmod(0o600)  # as safetensors does
    finally:
        os.umask(before)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
    assert modes["a.json"] == modes["a.safetensors"] == 0o640


def test_a_target_that_is_open_elsewhere_leaves_the_finished_file_under_a_second_name(tmp_path, monkeypatch):
    path = tmp_path / "video.txt"
    write_text(path, "old")
    real = os.replace

    def refuses(source, target):  # as Windows does
        if target == path:
            raise PermissionError(13, "Access is denied")
        real(source, target)

    monkeypatch.setattr(os, "replace", refuses)
    with pytest.raises(InputError, match=r"video\.txt: is open in another program; the new file is .*video\."):
        write_text(path, "new")
    assert path.read_text() == "old"
    (second,) = set(tmp_path.iterdir()) - {path}
    assert second.read_text() == "new"


def test_a_folder_is_claimed_by_one_at_a_time_and_the_second_is_told_by_whom(tmp_path):
    for _ in range(2):
        with (
            exclusive_lock(tmp_path, "--root"),
            pytest.raises(InputError, match=rf"--root .*: in use by .*process {os.getpid()} on "),
            exclusive_lock(tmp_path, "--root"),
        ):
            pass


def test_names_may_be_as_long_as_the_system_takes_them_and_of_any_bytes(tmp_path):
    bytes_alone = ["\udcff\udc80.json", "a\n\x85\u2028 .json"] if sys.platform == "linux" else []
    names = ["a" * 250 + ".json", *bytes_alone]
    for name in names:
        write_json(tmp_path / name, {"file": name})
        assert json.loads((tmp_path / name).read_text(encoding="utf-8")) == {"file": name}
    assert len(list(tmp_path.iterdir())) == len(names)


def test_files_that_belong_together_appear_together_or_not_at_all(tmp_path):
    paths = [tmp_path / "a.mp4", tmp_path / "a.mp4.json"]
    for path in paths:
        path.write_text("old")
    with pytest.raises(OSError, match="full") as raised, atomic_writes(*paths) as temporaries:
        temporaries[0].write_text("new")
        raise OSError(errno.ENOSPC, "full", str(temporaries[1]))
    assert raised.value.filename == str(paths[1])
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"a.mp4": "old", "a.mp4.json": "old"}


@pytest.mark.skipif(os.name == "nt", reason="kill")
def test_what_a_killed_process_left_is_deleted_at_the_next_start_and_what_a_living_one_writes_is_not(tmp_path):
    program = (
        "import os, signal, sys; from pathlib import Path; from utils.files import atomic_write, temporary_folder\n"
        "with temporary_folder(Path(sys.argv[1])) as folder, atomic_write(folder.parent / 'a.mp4'):\n"
        "    (folder / 'file').touch(); print(flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", program, str(tmp_path)]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        files.delete_leftovers.cache_clear()
        files.writable_folder(tmp_path, "--outfile")
        assert len(list(tmp_path.iterdir())) == 2
        process.kill()
    assert len(list(tmp_path.iterdir())) == 2
    files.delete_leftovers.cache_clear()
    files.writable_folder(tmp_path, "--outfile")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("text", ["[" * 100_000, "{", "\x80"], ids=lambda text: text[:9])
def test_damaged_json_is_one_line_that_names_the_file_and_what_to_do(tmp_path, text):
    path = tmp_path / "report.json"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(InputError, match=r"report\.json: is damaged .*; make it again"):
        read_json(path, "make it again")


PLAIN = 'face,audio,pads\n"a, b.mp4",s.wav,0 20 0 0\nc.mp4,t.wav,\n'
ROWS = [{"face": "a, b.mp4", "audio": "s.wav", "pads": "0 20 0 0"}, {"face": "c.mp4", "audio": "t.wav", "pads": ""}]


def saved(text: str, separator: str = ",", newline: str = "\n") -> str:
    """PLAIN, or what is like it, with another separator outside of the quotes."""
    return text.replace(", b", "\0").replace(",", separator).replace("\0", ", b").replace("\n", newline)


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        (PLAIN, "utf-8"),
        (saved(PLAIN, "\t", "\r\n"), "utf-16"),
        ("sep=;\r\n" + saved(PLAIN, ";", "\r\n"), "utf-8-sig"),
        (saved(PLAIN, ";").replace("face;audio", ' "Face" ; Audio '), "utf-8"),
        (saved(PLAIN, ";").replace("pads", "pads;;").replace("0 0\n", "0 0;;\n") + ";;;;\n\n", "utf-8"),
    ],
    ids=["comma", "tab, UTF-16", "semicolon, mark and sep line", "names", "empty cells"],
)
def test_one_table_is_read_however_it_was_saved(tmp_path, text, encoding):
    (tmp_path / "list.csv").write_bytes(text.encode(encoding))
    assert read_table(tmp_path / "list.csv", "--jobs", ("face", "audio")) == ROWS
    (tmp_path / "list.json").write_text(json.dumps(ROWS), encoding=encoding)
    assert read_table(tmp_path / "list.json", "--jobs", ("face", "audio")) == ROWS
    (tmp_path / "list.csv").write_text("video\na; b.mp4\n")
    assert read_table(tmp_path / "list.csv", "--list", ("video",)) == [{"video": "a; b.mp4"}]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"video;sound\nx;y\n", "has the columns video, sound"),
        (b"face;audio\nx;y;z\n", "line 2 has more values"),
        (b"face;audio\nZo\xeb;y\n", "in UTF-8"),
        (b"face;audio\n", "give rows"),
    ],
)
def test_what_is_wrong_with_a_table_is_said_by_its_columns(tmp_path, content, said):
    (tmp_path / "list.csv").write_bytes(content)
    with pytest.raises(InputError, match=rf"--jobs .*list\.csv: .*{said}"):
        read_table(tmp_path / "list.csv", "--jobs", ("face", "audio"))


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
