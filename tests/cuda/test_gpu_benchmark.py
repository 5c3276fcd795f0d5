"""The benchmark of GPUs: all of its functions, on a CPU in small."""

import pytest
import torch

from benchmarks import __main__ as benchmarks
from benchmarks import gpu
from conftest import NARROW
from gpus import ON_CPU_AND_GPU
from utils import cli

SMALL = gpu.Sizes(
    seconds=0.01, side=64, batches=(2,), precisions=("bf16",), dub_seconds=0.2,
    codecs=(("h264", "software"), ("h264_none", "software")), generator_windows=(2,), expert_windows=(4,),
)  # fmt: skip
LOSSES = ("loss of a step in fp32; on the CPU", "of the step after it")


@ON_CPU_AND_GPU
def test_the_generator_is_measured_in_batches(device):
    found = {row.what: row for row in gpu.generator_rows(device, SMALL, NARROW.width)}
    assert found["generator, bf16, batch 2"].times > 0
    assert found["products of matrices, bf16"].ours > 0
    assert ("its memory at most" in found) == (device.type == "cuda")


@ON_CPU_AND_GPU
@pytest.mark.slow
@pytest.mark.long
def test_everything_that_a_gpu_is_for_is_measured(device):
    found = {row.what: row for row in gpu.measure_on(device, SMALL, NARROW)}
    dub = "dub of 1920×1080, decoded by software, h264"
    trainings = "generator training, batch 2", "expert training, batch 4"
    for what in ("generator, bf16, batch 2", dub, *trainings):
        assert found[what].ours > 0
    for what in LOSSES:
        assert found[what].ours == pytest.approx(found[what].plain, rel=1e-3)
    assert not any("h264_none" in what for what in found)


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU is here")
def test_without_a_gpu_one_line_says_so(capsys, tmp_path):
    with pytest.raises(SystemExit) as end:
        cli.run(benchmarks.main, benchmarks.parse_args, ["gpu", "--out", str(tmp_path)])
    assert end.value.code == 2
    assert capsys.readouterr().err == "error: benchmarks gpu: no GPU that PyTorch can use is here\n"
    assert not list(tmp_path.iterdir())
