"""Weights converted for OpenVINO in the tests' own process, and generators loaded from them."""

import shutil
from importlib.util import find_spec

import numpy as np
import pytest

from models.backend import Backend, load
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
    from models import openvino_conversion as conversion

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
