"""Generators exported for other programs draw what PyTorch draws, and need no PyTorch."""

import json
from pathlib import Path

import numpy as np
import pytest

from conftest import NARROW
from engines import inputs, load_generator, need
from models import export

ROOT = Path(__file__).resolve().parent.parent.parent


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
    monkeypatch.setattr(export, "is_installed", lambda name: False)
    result = script("weights", "export", generator, tmp_path / "o.onnx", "--format", "onnx")
    assert (result.code, "python -m pip install" in result.error) == (2, True)
    assert list(tmp_path.iterdir()) == [path]
