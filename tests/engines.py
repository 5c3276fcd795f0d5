"""Weights prepared for OpenVINO in the tests' own process, and generators loaded from them."""

import shutil
from importlib.util import find_spec

import numpy as np
import pytest

from models.engines import prepare, store
from models.engines.choice import Choice
from models.engines.generator import load_generator
from utils.files import CACHE_FOLDER, cache_folder, sha256


def need(*packages):
    """Skip the test where one is not installed; they are not imported for that."""
    for package in packages:
        if find_spec(package) is None:
            pytest.skip(f"{package} is not installed (requirements-openvino.txt)")


@pytest.fixture
def prepared_here(monkeypatch):
    """Weights are prepared in this process, which has PyTorch; the calls are returned."""
    need("openvino")
    calls = []

    def in_this_process(wanted, folders):
        calls.append(wanted["network"])
        prepare.main(dict(wanted), folders)

    monkeypatch.setattr(store, "prepare", in_this_process)
    return calls


@pytest.fixture(scope="session")
def prepared(generator, tmp_path_factory):
    """The cache folder after the narrow generator has been prepared in floating point."""
    need("openvino")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(CACHE_FOLDER, str(tmp_path_factory.mktemp("made")))
        patch.setattr(store, "prepare", lambda wanted, folders: prepare.main(dict(wanted), folders))
        load(generator, "openvino", "fp32")
        return cache_folder("engines")


@pytest.fixture
def prepared_copy(tmp_path, monkeypatch, prepared, prepared_here):
    """A folder of prepared models of the test's own, with the narrow generator."""
    monkeypatch.setenv(CACHE_FOLDER, str(tmp_path / "cache"))
    shutil.copytree(prepared, cache_folder("engines"))
    return cache_folder("engines")


def inputs(count=5):
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (count, 96, 96, 3), np.uint8), rng.normal(size=(count, 1, 80, 16)).astype(np.float32)


def load(path, engine, precision, batch_size=4):
    return load_generator(path, sha256(path), Choice(engine, precision, "cpu"), batch_size, "")
