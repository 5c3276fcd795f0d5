"""Weights to a model of another engine, by PyTorch."""

import warnings
from pathlib import Path
from typing import Any

import torch

from hparams import HParams
from models import Wav2Lip
from models.batched_generator import fold_batch_norms
from models.checkpoint import build_network
from models.engines.openvino_engine import openvino
from models.engines.picture_generator import INPUTS, OUTPUT, PictureGenerator
from utils import weight_files
from utils.devices import Precision


def picture_generator(path: Path, overrides: str, first_row: int) -> tuple[PictureGenerator, dict]:
    """The generator of a weight file, in single precision on the CPU, and the values saved with it."""
    content = weight_files.read(path, mapped=True)
    generator, _ = build_network(Wav2Lip, content, path, overrides)
    saved = content.get("hparams")
    folded = fold_batch_norms(generator, Precision("fp32", torch.device("cpu")))
    return PictureGenerator(folded, first_row).eval(), saved if isinstance(saved, dict) else {}


def convert(pictures: PictureGenerator, hp: HParams) -> Any:
    """As an OpenVINO model, for batches of any size."""
    ov = openvino()
    faces, mels = pictures.example(hp.img_size, (hp.num_mels, hp.mel_window))
    with torch.inference_mode(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the tracer: that sizes become constants, as they are meant to
        model = ov.convert_model(
            pictures, example_input=(faces, mels), input=[(-1, *faces.shape[1:]), (-1, *mels.shape[1:])]
        )
    for port, name in zip((*model.inputs, *model.outputs), (*INPUTS, OUTPUT), strict=True):
        port.tensor.set_names({name})
    return model
