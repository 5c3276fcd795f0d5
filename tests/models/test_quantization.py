"""The generator in int8: how far it may be from single precision, and what is done where it is too far."""

import json

import pytest

from engines import load, need
from models.engines import conversion, openvino_engine, quantization, store
from models.published import BUNDLED_GENERATOR
from utils.files import CACHE_FOLDER, cache_folder


@pytest.fixture
def few(monkeypatch):
    """Calibrated on fewer faces, which is faster; returns them."""
    need("openvino", "nncf")
    faces, mels = (array[:8] for array in quantization.calibration_set())
    monkeypatch.setattr(quantization, "calibration_set", lambda: (faces, mels))
    return faces, mels


@pytest.mark.slow
def test_int8_is_within_40_db_of_single_precision_on_the_bundled_weights(few, prepared_here, tmp_path, monkeypatch):
    monkeypatch.setenv(CACHE_FOLDER, str(tmp_path))
    engine, _ = load(BUNDLED_GENERATOR, "openvino", "int8", 8)
    assert engine.precision == "int8"
    (folder,) = cache_folder("engines").iterdir()
    assert json.loads((folder / store.ABOUT).read_text())["worst_psnr"] >= quantization.LEAST_PSNR
    wanted = load(BUNDLED_GENERATOR, "torch", "fp32", 8)[0](*few)
    found = quantization.psnr(wanted, engine(*few))
    assert found.min() >= quantization.LEAST_PSNR


@pytest.mark.slow
def test_the_parts_next_to_the_pictures_stay_in_floating_point_where_int8_is_too_far(few, prepared, monkeypatch):
    kept, quantize = [], quantization._quantize
    monkeypatch.setattr(quantization, "_quantize", lambda *given: kept.append(given[-1]) or quantize(*given))
    (folder,) = prepared.iterdir()
    model = openvino_engine.core().read_model(folder / "generator.xml")
    result = quantization.quantized(model, "fp32", 200.0)  # dB, which nothing reaches
    assert result.model is None
    assert kept == [(), quantization.KEPT]
    ignored = quantization._convolutions(model, quantization.KEPT)
    assert {part for part in quantization.KEPT for name in ignored if part in name} == set(quantization.KEPT)
    assert 6 <= len(ignored) <= 8


def test_where_int8_is_not_good_enough_a_line_says_so_and_it_is_not_tried_again(
    generator, prepared_copy, prepared_here, monkeypatch, capsys
):
    need("nncf")
    monkeypatch.setattr(quantization, "quantized", lambda *_: quantization.Quantized(None, 31.5, quantization.KEPT))
    for _ in range(2):
        engine, _ = load(generator, "openvino", "int8")
        assert engine.precision in ("bf16", "fp32")
        assert "int8 is too far from fp32 (31.5 dB)" in capsys.readouterr().err
    assert prepared_here == ["generator"]


def test_where_int8_is_no_faster_auto_takes_floating_point(generator, prepared_copy, prepared_here, monkeypatch):
    need("nncf")
    monkeypatch.setattr(quantization, "quantized", lambda model, *_: quantization.Quantized(model, 50.0, ()))
    monkeypatch.setattr(conversion, "trial_seconds", lambda _: {"float": 1.0, "int8": 1.1})
    assert load(generator, "openvino", "auto")[0].precision in ("bf16", "fp32")
    assert load(generator, "openvino", "int8")[0].precision == "int8"
    assert prepared_here == ["generator"]
