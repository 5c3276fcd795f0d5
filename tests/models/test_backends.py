"""PyTorch, OpenVINO and exported models draw the same; OpenVINO's are converted once; which backend is picked."""

import json
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from conftest import NARROW, save_network
from media.reader import VideoReader
from metrics.sync import load_expert, score_distances
from models import SyncNet_color, Wav2Lip, backend, conversion, export
from models.backend import Backend, load, pick
from models.published import BUNDLED_EXPERT, BUNDLED_GENERATOR
from models.torch_backend import PictureGenerator, TorchNetwork, load_network
from utils import weight_files
from utils.devices import Precision
from utils.errors import InputError
from utils.files import CACHE_FOLDER, cache_folder


def need(*packages):
    """Skip the test where one is not installed; they are not imported for that."""
    for package in packages:
        if find_spec(package) is None:
            pytest.skip(f"{package} is not installed (requirements-openvino.txt)")


@pytest.fixture
def converted_here(monkeypatch):
    """What is converted is noted in the list that is returned."""
    need("openvino")
    calls, convert = [], conversion.convert
    monkeypatch.setattr(conversion, "convert", lambda kind, *rest: calls.append(kind) or convert(kind, *rest))
    return calls


@pytest.fixture(scope="session")
def converted(generator, tmp_path_factory):
    """The cache folder after the narrow generator has been converted in floating point."""
    need("openvino")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(CACHE_FOLDER, str(tmp_path_factory.mktemp("made")))
        load_generator(generator, "openvino", "fp32")
        return cache_folder("openvino")


@pytest.fixture
def converted_copy(tmp_path, monkeypatch, converted, converted_here):
    """A cache folder of the test's own, with the narrow generator."""
    monkeypatch.setenv(CACHE_FOLDER, str(tmp_path / "cache"))
    shutil.copytree(converted, cache_folder("openvino"))
    return cache_folder("openvino")


def inputs(count=5):
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (count, 96, 96, 3), np.uint8), rng.normal(size=(count, 1, 80, 16)).astype(np.float32)


def load_generator(path, name, dtype, batch_size=4):
    return load("generator", path, Backend(name, dtype, "cpu"), batch_size=batch_size)


ROOT = Path(__file__).resolve().parents[2]
IS_CPU = backend.is_cpu  # before conftest.py changes it


@pytest.fixture
def installed(monkeypatch):
    """installed(*packages): these are, and there may be a GPU or not."""

    def call(*packages, gpu=False):
        monkeypatch.setattr(backend, "is_installed", packages.__contains__)
        monkeypatch.setattr(backend, "is_cpu", IS_CPU)
        monkeypatch.setattr(backend, "gpu_is_possible", lambda: gpu)

    return call


def test_auto_picks_openvino_on_a_cpu_where_it_is_installed_else_pytorch(installed):
    installed("openvino", "nncf")
    assert pick("auto", "auto", "auto").name == pick("auto", "int8", "cpu").name == "openvino"
    assert pick("auto", "auto", "cuda").name == pick("torch", "auto", "cpu").name == "torch"
    installed()
    assert pick("auto", "auto", "auto").name == "torch"
    installed("openvino", gpu=True)
    assert pick("auto", "auto", "auto").name == "torch"


@pytest.mark.parametrize(
    ("packages", "asked", "problem"),
    [
        ([], ("openvino", "auto", "auto"), "--engine openvino: .*pip install"),
        ([], ("auto", "int8", "auto"), "--precision int8: .*pip install"),
        ([], ("torch", "int8", "cpu"), "--precision int8"),
        (["openvino"], ("openvino", "int8", "cpu"), "--precision int8: .*pip install"),
        (["openvino"], ("openvino", "auto", "cuda:1"), "--device cuda:1"),
        (["openvino"], ("openvino", "fp16", "auto"), "--precision fp16"),
    ],
)
def test_what_a_backend_cannot_do_is_refused(installed, packages, asked, problem):
    installed(*packages)
    with pytest.raises(InputError, match=problem):
        pick(*asked)


class Recorder(torch.nn.Module):
    """Generates one level, between two whole ones, and keeps its inputs."""

    def __init__(self):
        super().__init__()
        self.level = torch.nn.Parameter(torch.tensor(10.6 / 255))

    def forward(self, mel, faces):
        self.inputs = mel, faces
        return self.level.expand(len(faces), 3, *faces.shape[2:])


def test_levels_are_rounded_and_the_lower_half_is_hidden_from_the_network():
    (faces, mels), references = inputs(2), inputs(3)[0][1:]
    network = Recorder()
    generate = TorchNetwork(PictureGenerator(network), Precision("fp32", torch.device("cpu")), 4)
    assert (generate(faces, mels, references) == np.uint8(11)).all()
    mel, given = network.inputs
    assert np.array_equal(mel, mels)
    pictures = (given * 255).round().byte().permute(0, 2, 3, 1).numpy()
    assert np.array_equal(pictures[:, :48, :, :3], faces[:, :48])
    assert (pictures[:, 48:, :, :3] == 0).all()
    assert np.array_equal(pictures[..., 3:], references)


def test_folded_and_half_precision_networks_draw_what_the_plain_one_draws(talking):
    faces = [cv2.resize(frame.image[57:177, 178:273], (96, 96)) for frame in VideoReader(talking).frames()][:16]
    given = np.stack(faces), np.random.default_rng(0).uniform(-4, 2, (16, 1, 80, 16)).astype(np.float32)
    network, _ = load_network(BUNDLED_GENERATOR, "generator")
    plain = TorchNetwork(PictureGenerator(network), Precision("fp32", torch.device("cpu")), 16)(*given)
    for dtype, least in (("fp32", 60), ("bf16", 40)):
        (generate,) = load_generator(BUNDLED_GENERATOR, "torch", dtype).networks
        assert 10 * np.log10(255**2 / (np.mean((generate(*given).astype(float) - plain) ** 2) + 1e-9)) > least


def test_the_batch_is_halved_when_memory_runs_out_and_nothing_is_lost():
    network = Wav2Lip(NARROW.width).eval()

    class Small(torch.nn.Module):
        def parameters(self, recurse=True):
            return network.parameters()

        def forward(self, mel, faces):
            if len(mel) > 3:
                raise torch.OutOfMemoryError("full")
            return network(mel, faces)

    fp32 = Precision("fp32", torch.device("cpu"))
    generate, plain = (TorchNetwork(PictureGenerator(module), fp32, 8) for module in (Small(), network))
    generated = generate(*inputs(10))
    assert (generate.batch_size, generate.oom_retries) == (2, 2)
    assert np.abs(generated.astype(int) - plain(*inputs(10))).max() <= 1


def test_openvino_draws_what_pytorch_draws_however_many_faces_come_together(generator, converted_copy, converted_here):
    given = inputs(6)
    plain, loaded = (load_generator(generator, name, "fp32") for name in ("torch", "openvino"))
    drawn = loaded.networks[0](*given)
    assert np.abs(plain.networks[0](*given).astype(int) - drawn).max() <= 1
    for row in range(6):
        assert (loaded.networks[0](*(array[row : row + 1] for array in given)) == drawn[row]).all()
    assert plain.hp == loaded.hp == NARROW
    assert plain.fingerprint == loaded.fingerprint
    assert loaded.backend == Backend("openvino", "fp32", "cpu")
    assert converted_here == []  # it was in the cache folder
    assert sys.modules["openvino_telemetry"] is None  # nothing is reported to its makers


def test_damage_to_what_is_kept_is_noticed(generator, converted_copy, converted_here):
    wanted = load_generator(generator, "openvino", "fp32").networks[0](*inputs())
    (kept,) = converted_copy.iterdir()
    content = bytearray(kept.read_bytes())
    content[len(content) // 2] ^= 255
    kept.write_bytes(content)
    for _ in range(2):
        assert (load_generator(generator, "openvino", "fp32").networks[0](*inputs()) == wanted).all()
    assert converted_here == ["generator"]


@pytest.mark.parametrize("fault", ["no folder", "full"])
def test_a_cache_folder_that_cannot_be_written_is_only_a_warning(
    generator, converted_here, tmp_path, monkeypatch, capsys, fault
):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setenv(CACHE_FOLDER, str(tmp_path / "cache"))
    if fault == "no folder":
        (tmp_path / "cache").write_text("a file where the folder should be")
    else:
        monkeypatch.setattr(np, "savez", full)
    load_generator(generator, "openvino", "fp32")
    assert "cannot keep the converted weights" in capsys.readouterr().err
    assert not [*tmp_path.rglob("*.npz")]


@pytest.fixture
def few(monkeypatch):
    """Calibrated on fewer faces, which is faster; returns them."""
    need("openvino", "nncf")
    faces, mels = (array[:8] for array in conversion.calibration_set())
    monkeypatch.setattr(conversion, "calibration_set", lambda: (faces, mels))
    return faces, mels


@pytest.mark.slow
def test_int8_is_within_40_db_of_fp32_on_the_bundled_weights(few, converted_here, tmp_path, monkeypatch):
    monkeypatch.setenv(CACHE_FOLDER, str(tmp_path))
    loaded = load_generator(BUNDLED_GENERATOR, "openvino", "int8", 8)
    assert loaded.backend.dtype == "int8"
    wanted = load_generator(BUNDLED_GENERATOR, "torch", "fp32", 8).networks[0](*few)
    assert min(map(cv2.PSNR, wanted, loaded.networks[0](*few))) >= conversion.LEAST_PSNR


def test_int8_is_taken_where_it_is_accurate_and_faster(generator, converted_copy, converted_here, monkeypatch, capsys):
    need("nncf")
    monkeypatch.setattr(conversion, "prefers_bf16", lambda device: False)
    monkeypatch.setattr(conversion, "is_faster", lambda *_: False)
    monkeypatch.setattr(conversion, "quantized", lambda model, *_: (model, 50.0))
    assert load_generator(generator, "openvino", "auto").backend.dtype == "fp32"
    assert load_generator(generator, "openvino", "int8").backend.dtype == "int8"
    monkeypatch.setattr(conversion, "quantized", lambda *_: (None, 31.5))
    shutil.rmtree(converted_copy)
    for _ in range(2):
        assert load_generator(generator, "openvino", "int8").backend.dtype == "fp32"
        assert "31.5 dB" in capsys.readouterr().err
    assert len(converted_here) == 3


def test_scores_and_offsets_are_those_of_pytorch(converted_copy):
    faces, mels = conversion.calibration_set()
    clip, starts = faces[np.arange(60) % len(faces)], np.arange(56)
    mel = np.ascontiguousarray(np.concatenate(mels[:, 0], axis=1)[:, :192])
    distances = [
        load_expert(BUNDLED_EXPERT, Backend(name, "fp32", "cpu")).distances(clip, starts, starts, mel)
        for name in ("torch", "openvino")
    ]
    np.testing.assert_allclose(*distances, atol=5e-3)  # one may take bf16
    ours, theirs = map(score_distances, distances)
    assert ours.offset == theirs.offset


SHOW = """
import sys
import inference
from utils import cli
try:
    cli.run(inference.main, inference.parse_args, sys.argv[1:])
finally:
    print(*sorted({name.partition(".")[0] for name in sys.modules}), file=sys.stderr)
"""


@pytest.mark.slow
def test_a_dub_of_converted_weights_imports_no_pytorch(dub, converted_copy, talking, generator, tmp_path):
    flags = ["--engine", "openvino", "--precision", "fp32", "--face_detector", "retinaface", "--no_cache"]
    flags += ["--occlusion"]
    assert dub("--audio", talking, *flags, "--preview", 0.2).code == 0  # converts generator and expert
    outfile, jobs = tmp_path / "again.mp4", tmp_path / "jobs.csv"
    jobs.write_text(f"face,audio,outfile\n{talking},{talking},{outfile}\n")
    command = ["--jobs", jobs, "--checkpoint_path", generator, *flags]
    done = subprocess.run(
        [sys.executable, "-c", SHOW, *map(str, command)], cwd=ROOT, capture_output=True, text=True, encoding="utf-8"
    )
    assert done.returncode == 0, done.stderr
    imported = set(done.stderr.splitlines()[-1].split())
    assert not imported & {"torch", "torchvision", "librosa", "numba", "scipy", "nncf"}
    assert imported >= {"openvino", "numpy", "av"}
    record = json.loads(Path(f"{outfile}.json").read_text(encoding="utf-8"))
    assert (record["engine"], record["precision"], record["device"]) == ("openvino", "fp32", "cpu")
    assert record["sync"]["windows"] > 0


def largest_difference(generator, generated):
    return np.abs(load_generator(generator, "torch", "fp32").networks[0](*inputs(3)).astype(int) - generated).max()


@pytest.fixture(scope="module")
def exported(generator, tmp_path_factory):
    need("openvino")
    path = tmp_path_factory.mktemp("exported") / "a generator.xml"
    assert export.export(generator, path, "openvino") == "a generator (Wav2Lip)"
    return path


def test_an_openvino_model_draws_frames_as_pytorch_does(generator, exported):
    from models.openvino_backend import core

    faces, mels = inputs(3)
    model = core().read_model(exported)
    assert json.loads(model.get_rt_info(["wav2lip", "hparams"]).astype(str))["width"] == NARROW.width
    assert "int(80 * (t - 1/25))" in model.get_rt_info(["wav2lip", "mels"]).astype(str)
    compiled = core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    assert largest_difference(generator, compiled({"faces": faces, "mels": mels})["generated"]) <= 1
    assert sorted(path.name for path in exported.parent.iterdir()) == ["a generator.bin", "a generator.xml"]


def test_an_onnx_model_draws_frames_as_pytorch_does(generator, tmp_path):
    need("onnx")
    import onnxruntime

    path, (faces, mels) = tmp_path / "generator.onnx", inputs(3)
    export.export(generator, path, "onnx")
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    metadata = session.get_modelmeta().custom_metadata_map
    assert json.loads(metadata["hparams"])["width"] == NARROW.width
    assert metadata.keys() == export.RULES.keys() | {"hparams"}
    assert largest_difference(generator, session.run(["generated"], {"faces": faces, "mels": mels})[0]) <= 1


def test_two_trainings_of_a_network_are_averaged_and_no_others(generator, tmp_path):
    other = save_network(tmp_path / "b.pth", Wav2Lip, seed=1)
    content = torch.load(other, weights_only=True)
    weights = {
        n: t.contiguous(memory_format=torch.channels_last) if t.dim() == 4 else t
        for n, t in content["state_dict"].items()
    }
    torch.save(content | {"state_dict": weights}, other)  # as trainings hold them
    expert = save_network(tmp_path / "e.pth", SyncNet_color)
    assert export.average(other, generator, tmp_path / "mean.safetensors", 0.75) == "a generator (Wav2Lip)"
    first, second, mean = (
        weight_files.read(path)["state_dict"] for path in (generator, other, tmp_path / "mean.safetensors")
    )
    name = "output_block.1.weight"
    assert torch.allclose(mean[name], 0.75 * first[name] + 0.25 * second[name], atol=1e-6)
    load_generator(tmp_path / "mean.safetensors", "torch", "fp32")
    with pytest.raises(InputError, match="same network"):
        export.average(generator, expert, tmp_path / "none.safetensors", 0.5)
    assert not (tmp_path / "none.safetensors").exists()
    with pytest.raises(InputError):
        export.average(tmp_path / "mean.safetensors", generator, tmp_path / "mean.safetensors", 0.5)


def test_an_amplified_generator_moves_its_mouths_more_and_is_less_pale(tmp_path, script):
    faces, mels = (array[:8] for array in conversion.calibration_set())

    def drawn(motion, contrast):
        """The same faces with two sounds: float32 [2, 8, 48, 96, 3], lower halves."""
        path = tmp_path / "lively.safetensors"
        assert export.amplify(BUNDLED_GENERATOR, path, motion, contrast) == weight_files.GENERATOR
        network = load_generator(path, "torch", "fp32").networks[0]
        return np.stack([network(faces, sound)[:, 48:] for sound in (mels, np.flip(mels, 0).copy())]).astype(np.float32)

    (of_bundled,) = load_generator(BUNDLED_GENERATOR, "torch", "fp32").networks
    plain, moving, rich = drawn(1, 1), drawn(1.5, 1), drawn(1, 1.05)
    assert np.array_equal(plain[0], of_bundled(faces, mels)[:, 48:])
    change = [float(np.abs(np.diff(pair, axis=0)).mean()) for pair in (plain, moving)]
    assert 1.1 < change[1] / change[0] < 1.6
    contrast = [float(pair.std(axis=(2, 3)).mean()) for pair in (plain, rich)]
    assert 1.02 < contrast[1] / contrast[0] < 1.2
    assert np.abs(moving.mean(axis=(0, 1)) - plain.mean(axis=(0, 1))).mean() < 2  # levels: the mean mouth stays

    expert = save_network(tmp_path / "expert.pth", SyncNet_color)
    for source, flags, said in (
        (expert, [], "expert.pth: is a lip-sync expert"), (BUNDLED_GENERATOR, ["--motion", "0"], "--motion 0"),
        (BUNDLED_GENERATOR, ["--contrast", "nan"], "--contrast nan"),
    ):  # fmt: skip
        result = script("weights", "amplify", source, tmp_path / "none.safetensors", *flags)
        assert (result.code, said in result.error) == (2, True)
    assert not (tmp_path / "none.safetensors").exists()


def test_what_cannot_be_exported_is_one_line(generator, tmp_path, script, monkeypatch):
    for form, name in (("safetensors", "out.pth"), ("openvino", "out.onnx"), ("onnx", "out.xml")):
        result = script("weights", "export", generator, tmp_path / name, "--format", form)
        assert (result.code, f"ends in {export.SUFFIXES[form]}" in result.error) == (2, True)
    path = tmp_path / "a.safetensors"
    assert script("weights", "export", generator, path).code == 0
    before = path.read_bytes()
    assert len(before) < 0.6 * generator.stat().st_size  # in half precision
    assert script("weights", "export", path, path).code == 2  # onto itself
    assert path.read_bytes() == before
    unknown = tmp_path / "unknown.safetensors"
    weight_files.write_safetensors(unknown, {"of.no.network": torch.ones(1)}, {})
    result = script("weights", "export", unknown, tmp_path / "out.safetensors")
    assert (result.code, "unknown.safetensors: is no network of this project" in result.error) == (2, True)
    unknown.unlink()
    monkeypatch.setattr(export, "is_installed", lambda name: False)
    result = script("weights", "export", generator, tmp_path / "o.onnx", "--format", "onnx")
    assert (result.code, "python -m pip install" in result.error) == (2, True)
    assert list(tmp_path.iterdir()) == [path]
