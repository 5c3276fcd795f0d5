"""Weights to OpenVINO models, by PyTorch. Each function returns the models by their names, and what there is to know of
them: `hparams`, the values saved with the weights; `fastest`, the number format in floating point that suits them here;
and what its own docstring says."""

import warnings
from collections.abc import Callable
from contextlib import redirect_stderr
from pathlib import Path
from typing import Any

import torch
from torch import nn

from hparams import HParams
from models import SyncNet_color, Wav2Lip
from models.batched_generator import fold_batch_norms
from models.checkpoint import build_network, load_network
from models.engines.array_networks import FaceEncoder, MelEncoder
from models.engines.array_networks import PictureRefiner as RefinerModule
from models.engines.openvino_engine import fastest_format, openvino, trial_seconds
from models.engines.picture_generator import INPUTS, OUTPUT, PictureGenerator
from models.engines.torch_networks import read_refiner
from utils import weight_files
from utils.devices import Precision
from utils.files import devnull

Prepared = tuple[dict[str, Any], dict]


def generator(path: Path, overrides: str, int8: bool) -> Prepared:
    """Known of it: whether it is `int8`, and if that was wanted the `worst_psnr`, which parts are `kept` in floating
    point, and whether it is `faster` than all of it; the weights' `fingerprint`."""
    pictures, content = picture_generator(path, overrides)
    saved = content["hparams"]
    model = convert_generator(pictures, HParams.from_dict(saved).override(overrides))
    about = {
        "hparams": saved, "int8": False, "fastest": fastest_format(model),
        "fingerprint": weight_files.fingerprint(content["state_dict"]),
    }  # fmt: skip
    if not int8:
        return {"generator": model}, about
    from models.engines.quantization import quantized

    result = quantized(model, about["fastest"])
    about |= {"worst_psnr": round(result.worst_psnr, 2), "kept": result.kept}
    if result.model is None:
        return {"generator": model}, about
    seconds = trial_seconds({"float": (model, about["fastest"]), "int8": (result.model, about["fastest"])})
    return {"generator": result.model}, about | {"int8": True, "faster": seconds["int8"] < seconds["float"]}


def encoders(path: Path) -> Prepared:
    expert, hp = load_network(path, SyncNet_color)
    expert.requires_grad_(False)
    models = {
        name: convert(module(expert), module.example(hp), "embeddings")
        for name, module in (("faces", FaceEncoder), ("mels", MelEncoder))
    }
    return models, {"hparams": hp.to_dict(), "fastest": fastest_format(models["faces"])}


def refiner(path: Path) -> Prepared:
    """Known of it: the fingerprint of the `generator` that it belongs to."""
    network, hp, of_generator = read_refiner(path)
    network.requires_grad_(False)
    model = convert(RefinerModule(network), RefinerModule.example(hp), "refined")
    return {"refiner": model}, {"hparams": hp.to_dict(), "generator": of_generator, "fastest": fastest_format(model)}


PREPARE: dict[str, Callable[..., Prepared]] = {"generator": generator, "encoders": encoders, "refiner": refiner}


def picture_generator(path: Path, overrides: str) -> tuple[PictureGenerator, dict]:
    """The generator of a weight file, in single precision on the CPU, and what the file holds; its hparams are {} where
    it has none."""
    content = weight_files.read(path)
    saved = content.get("hparams")
    content["hparams"] = saved if isinstance(saved, dict) else {}
    network, _ = build_network(Wav2Lip, content, path, overrides)
    folded = fold_batch_norms(network, Precision("fp32", torch.device("cpu")))
    return PictureGenerator(folded).eval(), content


def convert_generator(pictures: PictureGenerator, hp: HParams) -> Any:
    example = pictures.example(hp.img_size, (hp.num_mels, hp.mel_window))
    return convert(pictures, dict(zip(INPUTS, example, strict=True)), OUTPUT)


def convert(module: nn.Module, example: dict[str, torch.Tensor], output: str) -> Any:
    """A module as an OpenVINO model, for batches of any size, its ports named. example: inputs for a batch of two."""
    ov = openvino()
    inputs = tuple(example.values())
    with torch.inference_mode(), warnings.catch_warnings(), devnull() as hidden, redirect_stderr(hidden):
        warnings.simplefilter("ignore")  # of the tracer: that sizes become constants, as they are meant to
        model = ov.convert_model(
            module.eval(), example_input=inputs, input=[(-1, *given.shape[1:]) for given in inputs]
        )
    for port, name in zip((*model.inputs, *model.outputs), (*example, output), strict=True):
        port.tensor.set_names({name})
    return model
