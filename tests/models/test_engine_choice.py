"""Which engine is taken, and what is said where it cannot be."""

import pytest

from models.engines import choice
from models.engines.choice import choose
from utils.errors import InputError

IS_CPU = choice.is_cpu  # before conftest.py changes it


@pytest.fixture
def there(monkeypatch):
    """there(*packages): these are installed, no GPU is."""

    def call(*packages):
        monkeypatch.setattr(choice, "is_installed", packages.__contains__)
        monkeypatch.setattr(choice, "is_cpu", IS_CPU)
        monkeypatch.setattr(choice, "gpu_is_possible", lambda: False)

    return call


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
