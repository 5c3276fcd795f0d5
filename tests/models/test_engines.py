"""Engines: which one is chosen, and that what OpenVINO draws is what PyTorch draws."""

import json
import re
import sys
from importlib.util import find_spec

import numpy as np
import pytest

from conftest import NARROW
from models.engines import choice, openvino_engine, quantization, store
from models.engines.choice import Choice, choose
from models.engines.generator import load_generator
from models.published import BUNDLED_GENERATOR
from utils.cache import FOLDER, cache_folder
from utils.errors import InputError
from utils.files import sha256

FIRST_ROW = 44
PREPARE, IS_CPU = openvino_engine.prepare, choice.is_cpu  # before conftest.py changes it


@pytest.fixture
def there(monkeypatch):
    """there(*packages): these are installed, no GPU is."""

    def call(*packages):
        monkeypatch.setattr(choice, "is_installed", packages.__contains__)
        monkeypatch.setattr(choice, "is_cpu", IS_CPU)
        monkeypatch.setattr(choice, "gpu_is_possible", lambda: False)

    return call


def need(*packages):
    """Skip the test where one is not installed; they are not imported for that."""
    for package in packages:
        if find_spec(package) is None:
            pytest.skip(f"{package} is not installed (requirements-openvino.txt)")


@pytest.fixture(scope="module")
def prepared(generator):
    """The narrow generator as an OpenVINO model, and what is known of it."""
    need("openvino")
    return openvino_engine.prepare(generator, "", FIRST_ROW, int8=False)


@pytest.fixture
def kept(tmp_path, monkeypatch, prepared):
    """The folder of prepared models, empty; the generator is not prepared anew for every test."""
    monkeypatch.setenv(FOLDER, str(tmp_path / "cache"))
    monkeypatch.setattr(openvino_engine, "prepare", lambda *_: prepared)
    return cache_folder("engines")


def inputs(count=5):
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (count, 96, 96, 3), np.uint8), rng.normal(size=(count, 1, 80, 16)).astype(np.float32)


def load(path, engine, precision, batch_size=4):
    return load_generator(path, sha256(path), Choice(engine, precision, "cpu"), batch_size, FIRST_ROW, "")


def test_auto_takes_openvino_on_a_cpu_where_it_is_installed_else_pytorch(there):
    there("openvino", "nncf")
    assert choose("auto", "auto", "auto").engine == "openvino"
    assert choose("auto", "int8", "cpu").engine == "openvino"
    assert choose("auto", "auto", "cuda").engine == "torch"
    assert choose("torch", "auto", "cpu").engine == "torch"
    there()
    assert choose("auto", "auto", "auto").engine == "torch"


def test_auto_asks_pytorch_where_there_may_be_a_gpu(there, monkeypatch):
    there("openvino")
    monkeypatch.setattr(choice, "gpu_is_possible", lambda: True)
    assert choose("auto", "auto", "auto").engine == "torch"


@pytest.mark.parametrize(
    ("asked", "problem"),
    [
        (("openvino", "auto", "auto"), "--engine openvino: OpenVINO is not installed; python -m pip install"),
        (("auto", "int8", "auto"), "--precision int8: needs a CPU and OpenVINO"),
        (("torch", "int8", "cpu"), "--precision int8: PyTorch takes"),
    ],
)
def test_what_is_missing_is_said_with_what_installs_it(there, asked, problem):
    there()
    with pytest.raises(InputError, match=problem):
        choose(*asked)


@pytest.mark.parametrize(
    "asked", [("openvino", "auto", "cuda:1"), ("openvino", "fp16", "auto"), ("openvino", "int8", "cpu")]
)
def test_openvino_refuses_what_it_cannot_do_here(there, asked):
    there("openvino")
    with pytest.raises(InputError):
        choose(*asked)


def test_openvino_draws_what_pytorch_draws_and_finds_it_prepared_the_next_time(generator, kept, monkeypatch):
    faces, mels = inputs()
    plain, hp = load(generator, "torch", "fp32")
    first, first_hp = load(generator, "openvino", "fp32")
    wanted = plain(faces, mels)
    assert np.abs(wanted.astype(int) - first(faces, mels)).max() <= 1
    assert (first(faces, mels)[:, :FIRST_ROW] == faces[:, :FIRST_ROW]).all()
    assert hp == first_hp == NARROW
    monkeypatch.setattr(openvino_engine, "prepare", None)
    again, again_hp = load(generator, "openvino", "fp32")
    assert (again(faces, mels) == first(faces, mels)).all()
    assert again_hp == hp


def test_a_face_is_the_same_however_many_come_with_it(generator, kept):
    faces, mels = inputs(6)
    engine, _ = load(generator, "openvino", "fp32")
    together = engine(faces, mels)
    for row in range(6):
        assert (engine(faces[row : row + 1], mels[row : row + 1]) == together[row]).all()


def test_damage_to_what_was_prepared_is_noticed(generator, kept):
    faces, mels = inputs(2)
    wanted = load(generator, "openvino", "fp32")[0](faces, mels)
    (folder,) = kept.iterdir()
    content = bytearray((folder / store.WEIGHTS).read_bytes())
    content[1000] ^= 255
    (folder / store.WEIGHTS).write_bytes(content)
    assert (load(generator, "openvino", "fp32")[0](faces, mels) == wanted).all()
    assert json.loads((folder / store.ABOUT).read_text())["files"] == store._hashes(folder)


def test_a_cache_folder_that_cannot_be_written_is_no_more_than_a_warning(generator, kept, monkeypatch, capsys):
    kept.parent.parent.joinpath("cache").write_text("a file where the folder should be")
    faces, mels = inputs(2)
    assert load(generator, "openvino", "fp32")[0](faces, mels).shape == faces.shape
    assert "cannot keep the prepared weights" in capsys.readouterr().err


def test_openvino_reports_nothing_to_its_makers(prepared):
    assert sys.modules["openvino_telemetry"] is None


@pytest.fixture
def few(monkeypatch):
    """Calibrated on fewer faces, which is faster; returns them."""
    need("openvino", "nncf")
    faces, mels = (array[:8] for array in quantization.calibration_set())
    monkeypatch.setattr(quantization, "calibration_set", lambda: (faces, mels))
    return faces, mels


@pytest.mark.slow
def test_int8_is_within_40_db_of_single_precision_on_the_bundled_weights(few, tmp_path, monkeypatch):
    monkeypatch.setenv(FOLDER, str(tmp_path))
    engine, _ = load(BUNDLED_GENERATOR, "openvino", "int8", 8)
    assert engine.precision == "int8"
    (folder,) = cache_folder("engines").iterdir()
    assert json.loads((folder / store.ABOUT).read_text())["worst_psnr"] >= quantization.LEAST_PSNR
    wanted = load(BUNDLED_GENERATOR, "torch", "fp32", 8)[0](*few)
    found = quantization.psnr(wanted[:, FIRST_ROW:], engine(*few)[:, FIRST_ROW:])
    assert found.min() >= quantization.LEAST_PSNR


@pytest.mark.slow
def test_the_part_that_loses_most_stays_in_floating_point(few, prepared, monkeypatch):
    kept, quantize = [], quantization._quantize
    monkeypatch.setattr(quantization, "_quantize", lambda *given: kept.append(given[-1]) or quantize(*given))
    monkeypatch.setattr(quantization, "TRIES", (1,))
    monkeypatch.setattr(quantization, "PARTS", re.compile(r"generator\.(output_block|face_encoder_blocks\.0)"))
    result = quantization.quantized(prepared[0], 200.0)  # dB, which nothing reaches
    assert result.model is None
    assert kept == [[], result.kept]
    assert result.kept in (["output_block"], ["face_encoder_blocks.0"])


def test_where_int8_is_not_good_enough_a_line_says_so_and_it_is_not_tried_again(generator, kept, monkeypatch, capsys):
    need("nncf")
    tried = []

    def too_far(model):
        tried.append(model)
        return quantization.Quantized(None, 31.5, ["output_block"])

    monkeypatch.setattr(openvino_engine, "prepare", PREPARE)
    monkeypatch.setattr(quantization, "quantized", too_far)
    for _ in range(2):
        engine, _ = load(generator, "openvino", "int8")
        assert engine.precision in ("bf16", "fp32")
        assert "int8 is too far from fp32 (31.5 dB)" in capsys.readouterr().err
    assert len(tried) == 1


def test_a_dub_by_openvino_says_so(dub, kept, tmp_path):
    result = dub("--engine", "openvino", "--precision", "fp32", "--no_score")
    assert result.code == 0
    assert "(OpenVINO, fp32)" in result.out
    record = json.loads((tmp_path / "out.mp4.json").read_text(encoding="utf-8"))
    assert (record["engine"], record["precision"], record["device"]) == ("openvino", "fp32", "cpu")
