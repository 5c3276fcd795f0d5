"""Generators exported for other engines draw what PyTorch draws, and need no PyTorch."""

import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

import weights
from conftest import NARROW
from media.reader import VideoReader
from models import export
from models.engines.choice import Choice
from models.engines.generator import load_generator
from models.engines.quantization import calibration_set
from utils.files import sha256

ROOT = Path(__file__).resolve().parent.parent.parent


def need(package):
    if find_spec(package) is None:
        pytest.skip(f"{package} is not installed")


def real_frames(count=3):
    faces, mels = calibration_set()
    return faces[:count], mels[:count]


def drawn_by_pytorch(generator, faces, mels):
    return load_generator(generator, sha256(generator), Choice("torch", "fp32", "cpu"), 4, "")[0](faces, mels)


@pytest.fixture(scope="module")
def exported(generator, tmp_path_factory):
    need("openvino")
    path = tmp_path_factory.mktemp("exported") / "a generator.xml"
    assert export.export(generator, path, "openvino") == "a generator (Wav2Lip)"
    return path


def test_an_openvino_model_draws_real_frames_as_pytorch_does(generator, exported):
    from models.engines.openvino_engine import core

    faces, mels = real_frames()
    model = core().read_model(exported)
    assert json.loads(model.get_rt_info(["wav2lip", "hparams"]).astype(str))["width"] == NARROW.width
    assert "int(80 * (t - 1/25))" in model.get_rt_info(["wav2lip", "mels"]).astype(str)
    config = {"INFERENCE_PRECISION_HINT": "f32"}
    generated = core().compile_model(model, "CPU", config)({"faces": faces, "mels": mels})["generated"]
    assert np.abs(drawn_by_pytorch(generator, faces, mels).astype(int) - generated).max() <= 1
    assert sorted(path.name for path in exported.parent.iterdir()) == ["a generator.bin", "a generator.xml"]


def test_an_onnx_model_draws_real_frames_as_pytorch_does(generator, tmp_path):
    need("onnx")
    import onnxruntime

    path, (faces, mels) = tmp_path / "generator.onnx", real_frames()
    export.export(generator, path, "onnx")
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    metadata = session.get_modelmeta().custom_metadata_map
    assert json.loads(metadata["hparams"])["width"] == NARROW.width
    assert metadata.keys() == export.RULES.keys() | {"hparams"}
    generated = session.run(["generated"], {"faces": faces, "mels": mels})[0]
    assert np.abs(drawn_by_pytorch(generator, faces, mels).astype(int) - generated).max() <= 1


def test_the_example_dubs_without_pytorch(exported, talking, speech, tmp_path):
    out = tmp_path / "out.mp4"
    program = (
        "import runpy, sys; sys.modules.update(dict.fromkeys(['torch', 'librosa', 'numba'])); "
        "runpy.run_module('examples.dub_without_torch', run_name='__main__')"
    )
    arguments = [exported, talking, speech, out, 120, 400, 130, 380]
    subprocess.run([sys.executable, "-c", program, *map(str, arguments)], cwd=ROOT, check=True)
    assert VideoReader(out).has_sound
    assert len(list(VideoReader(out).pictures())) == 25
    example = (ROOT / "examples" / "dub_without_torch.py").read_text(encoding="utf-8")
    assert len(example.splitlines()) < 60


@pytest.mark.parametrize(
    ("name", "form", "problem"),
    [("out.pth", "safetensors", ".safetensors"), ("out.onnx", "openvino", ".xml"), ("out.xml", "onnx", ".onnx")],
)
def test_a_name_that_does_not_fit_the_format_is_refused(generator, tmp_path, script, name, form, problem):
    result = script("weights", "export", generator, tmp_path / name, "--format", form)
    assert (result.code, f"ends in {problem}" in result.error) == (2, True)


@pytest.mark.parametrize(("form", "package"), [("onnx", "onnx"), ("openvino", "openvino")])
def test_an_engine_that_is_missing_is_said_with_what_installs_it(
    generator, tmp_path, script, monkeypatch, form, package
):
    monkeypatch.setattr(export, "is_installed", lambda name: False)
    result = script("weights", "export", generator, tmp_path / f"o{export.SUFFIXES[form]}", "--format", form)
    assert (result.code, "python -m pip install" in result.error) == (2, True)
    assert list(tmp_path.iterdir()) == []


def test_only_a_generator_can_be_exported_ready_to_run(expert, tmp_path, script):
    need("openvino")
    result = script("weights", "export", expert, tmp_path / "o.xml", "--format", "openvino")
    assert (result.code, "a generator (Wav2Lip) is needed here" in result.error) == (2, True)


def test_a_file_is_not_exported_onto_itself(generator, tmp_path, script):
    path = tmp_path / "a.safetensors"
    assert script("weights", "export", generator, path).code == 0
    before = path.read_bytes()
    result = script("weights", "export", path, path)
    assert (result.code, "is the file to export; give another name" in result.error) == (2, True)
    assert path.read_bytes() == before


def test_the_script_offers_the_formats_that_there_are():
    assert tuple(export.SUFFIXES) == weights.FORMATS
