"""What a training shows of itself: pictures and clips, as files and in TensorBoard."""

import io
import tempfile
from fractions import Fraction
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from tensorboard.compat.proto.summary_pb2 import Summary
from torch.utils.tensorboard import SummaryWriter

import audio
from media.writer import VideoWriter
from utils import images


def grid(rows: dict[str, torch.Tensor]) -> np.ndarray:
    """By label, rows of BGR pictures [N, 3, H, W] in 0..1 as one picture, row below row: uint8 BGR."""
    return images.labelled_rows({label: [_picture(tensor) for tensor in row] for label, row in rows.items()})


def _picture(tensor: torch.Tensor) -> np.ndarray:
    return (tensor.float().cpu().clamp(0, 1).permute(1, 2, 0).numpy() * 255).round().astype(np.uint8)


def write_png(path: Path, picture: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    images.write_png(path, picture)


def show_picture(log: SummaryWriter, name: str, picture: np.ndarray, step: int) -> None:
    log.add_image(name, picture[..., ::-1].copy(), step, dataformats="HWC")


def show_clip(log: SummaryWriter, name: str, faces: np.ndarray, fps: int, step: int) -> None:
    """faces: uint8 BGR [N, S, S, 3], shown as a moving picture; TensorBoard plays no sound with one."""
    pictures = [Image.fromarray(face[..., ::-1].copy()) for face in faces]
    file = io.BytesIO()
    pictures[0].save(file, "GIF", save_all=True, append_images=pictures[1:], duration=1000 // fps, loop=0)
    height, width = faces.shape[1:3]
    image = Summary.Image(height=height, width=width, colorspace=3, encoded_image_string=file.getvalue())
    log._get_file_writer().add_summary(Summary(value=[Summary.Value(tag=name, image=image)]), step)


def write_clip(path: Path, faces: np.ndarray, fps: int, wav: np.ndarray, sample_rate: int) -> None:
    """faces: uint8 BGR [N, S, S, 3]; wav: float [samples], cut to the pictures' length."""
    with tempfile.TemporaryDirectory() as folder:
        sound = Path(folder) / "sound.wav"
        audio.save_wav(wav[: len(faces) * sample_rate // fps], sound, sample_rate)
        with VideoWriter(path, Fraction(fps), sound) as writer:
            for number, face in enumerate(faces):
                writer.write(face, number / fps)
