"""The generator in batches of one size, with and without a GPU: buffers, graph, what happens when memory runs out."""

import gc

import numpy as np
import pytest
import torch

from benchmarks.measuring import exact_products
from conftest import NARROW
from gpus import CPU, ON_CPU_AND_GPU, needs_gpus
from models import Wav2Lip
from models.batched_generator import fold_batch_norms, generate_faces
from models.engines import fixed_batches
from models.engines.fixed_batches import FixedBatches
from models.engines.torch_engine import TorchGenerator
from utils.devices import Precision

MEL = 80, 16


def folded(device: torch.device, precision: str = "fp32", width: float = NARROW.width) -> torch.nn.Module:
    torch.manual_seed(0)
    return fold_batch_norms(Wav2Lip(width).eval(), Precision(precision, device))


def inputs(count: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(count)
    return rng.integers(0, 256, (count, 96, 96, 3), np.uint8), rng.normal(size=(count, 1, *MEL)).astype(np.float32)


def on_cpu(faces, mels) -> np.ndarray:
    """The same network in single precision, face by face in the plain way."""
    return generate_faces(folded(CPU), faces, faces, mels, Precision("fp32", CPU))


@pytest.fixture(autouse=True)
def without_tf32():
    with exact_products():
        yield


@ON_CPU_AND_GPU
@pytest.mark.parametrize("first_row", [0, 44])
def test_batches_of_one_size_are_those_of_any_size_on_a_cpu(device, first_row):
    # eleven faces in fours: both places in turn, and a last batch that is filled up with what an earlier one left
    faces, mels = inputs(11)
    batches = FixedBatches(folded(device), device, 4, 96, MEL, first_row)
    assert (batches.graph is not None) == (device.type == "cuda")
    drawn = batches(faces, mels)
    assert drawn.shape == (11, 96 - first_row, 96, 3)
    assert np.abs(drawn.astype(int) - on_cpu(faces, mels)[:, first_row:]).max() <= 1
    few = batches(faces[5:6], mels[5:6])  # at another place, the buffers holding other faces by now
    assert np.abs(few.astype(int) - drawn[5:6]).max() <= 1
    assert batches(faces[:0], mels[:0]).shape == (0, 96 - first_row, 96, 3)


@pytest.mark.parametrize("precision", [pytest.param(name, marks=needs_gpus()) for name in ("fp32", "bf16", "fp16")])
def test_a_graph_draws_what_single_launches_draw(precision):
    device = torch.device("cuda")
    if precision == "bf16" and torch.cuda.get_device_capability() < (8, 0):
        pytest.skip("this GPU does not multiply bf16")
    faces, mels = inputs(9)
    batches = FixedBatches(folded(device, precision), device, 4, 96, MEL)
    recorded = batches(faces, mels)
    batches.graph = None
    assert np.abs(recorded.astype(int) - batches(faces, mels)).max() <= 1


@pytest.mark.parametrize("device", [pytest.param(torch.device("cuda"), marks=needs_gpus())])
def test_where_no_graph_can_be_recorded_a_line_says_so_and_the_faces_are_the_same(device, monkeypatch, capsys):
    def refuse(work, stream):
        raise RuntimeError("not while a stream is capturing\nmore lines")

    faces, mels = inputs(5)
    recorded = FixedBatches(folded(device), device, 4, 96, MEL)(faces, mels)
    monkeypatch.setattr(fixed_batches, "record", refuse)
    batches = FixedBatches(folded(device), device, 4, 96, MEL)
    assert batches.graph is None
    warning = f"warning: --device {device}: works without a CUDA graph (not while a stream is capturing)\n"
    assert capsys.readouterr().err == warning
    assert np.abs(recorded.astype(int) - batches(faces, mels)).max() <= 1


@ON_CPU_AND_GPU
def test_channels_last_weights_draw_the_faces_that_contiguous_ones_draw_on_a_cpu(device):
    faces, mels = inputs(3)
    channels_last = folded(device)
    contiguous = folded(CPU).to(memory_format=torch.contiguous_format)
    plain = generate_faces(contiguous, faces, faces, mels, Precision("fp32", CPU))
    drawn = generate_faces(channels_last, faces, faces, mels, Precision("fp32", device))
    assert np.abs(plain.astype(int) - drawn).max() <= 1


def test_batches_are_halved_till_the_buffers_of_one_size_fit(monkeypatch):
    class Small(FixedBatches):
        def __init__(self, generator, device, batch_size, *settings):
            if batch_size > 4:
                raise torch.OutOfMemoryError("CUDA out of memory")
            super().__init__(generator, device, batch_size, *settings)

    monkeypatch.setattr("models.engines.torch_engine.FixedBatches", Small)
    faces, mels = inputs(11)
    engine = TorchGenerator(folded(CPU), Precision("fp32", CPU), 16, 44)
    drawn = engine._in_fixed_batches(faces, mels)
    assert (engine.batch_size, engine.halved) == (4, 2)
    assert np.abs(drawn.astype(int) - on_cpu(faces, mels)[:, 44:]).max() <= 1


@pytest.fixture
def little_memory():
    """A GPU of which this process may take 3/4 GiB more than it has now."""
    gc.collect()
    torch.cuda.empty_cache()
    total = torch.cuda.mem_get_info()[1]
    torch.cuda.set_per_process_memory_fraction(min(1.0, (torch.cuda.memory_reserved() + 0.75 * 2**30) / total))
    yield
    torch.cuda.set_per_process_memory_fraction(1.0)
    torch.cuda.empty_cache()


@pytest.mark.parametrize("count", [pytest.param(2048, marks=needs_gpus())])
def test_a_real_limit_of_memory_halves_the_batch_and_changes_no_face(count, request):
    device = torch.device("cuda")
    generator = folded(device, "fp32", width=0.5)
    request.getfixturevalue("little_memory")  # the largest tensor of 2048 faces alone takes 2.25 GiB
    faces, mels = (np.resize(array, (count, *array.shape[1:])) for array in inputs(7))
    engine = TorchGenerator(generator, Precision("fp32", device), count)
    drawn = engine(faces, mels)
    assert engine.halved >= 1
    assert engine.batch_size == count >> engine.halved
    assert np.abs(drawn[:7].astype(int) - drawn[-7 - count % 7 : count - count % 7]).max() <= 1
    plain = generate_faces(folded(CPU, width=0.5), faces[:2], faces[:2], mels[:2], Precision("fp32", CPU))
    assert np.abs(drawn[:2].astype(int) - plain).max() <= 1
