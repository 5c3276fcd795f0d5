"""What evaluate.py scores with: a lip-sync expert of this project, or the published SyncNet, both by PyTorch."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from hparams import HParams, hparams
from metrics.experts import Expert, Scorer, embed_in_batches
from metrics.mfcc import mfcc
from models.inputs import picture_windows
from models.syncnet import SyncNet_v2
from utils import weight_files
from utils.devices import Precision

MFCC_COLUMNS, MFCC_COLUMNS_PER_FRAME = 20, 4
FACE_SIZE = 224  # pixels, of the published SyncNet's crops
FACE_MARGIN = 0.4  # part of the box's longer side that they show around it, all of it below
OUTSIDE = 110  # grey level where the frame has ended


class PublishedSyncNet:
    """SyncNet as the field measures LSE-D and LSE-C with it; beyond the sound embeddings are zero, as published."""

    missing = 0.0
    hp: HParams = hparams

    def __init__(self, path: Path, content: dict, device: torch.device) -> None:
        self.name = f"published SyncNet {path.name}"
        network = SyncNet_v2()
        weight_files.load_into(network, content["state_dict"], path)
        self.network: Any = network.eval().to(device)  # in single precision, so that numbers are those of the papers
        self.device = device

    def crop_face(self, image: np.ndarray, box: np.ndarray) -> np.ndarray:
        """uint8 BGR [224, 224, 3]: the box with margins left, right and, twice as wide, below."""
        x1, y1, x2, y2 = (float(v) for v in box)
        half = max(x2 - x1, y2 - y1) / 2
        pad = int(half * (1 + 2 * FACE_MARGIN))
        padded = cv2.copyMakeBorder(image, pad, pad, pad, pad, cv2.BORDER_CONSTANT, value=(OUTSIDE,) * 3)
        middle_x, middle_y, side = (x1 + x2) / 2 + pad, (y1 + y2) / 2 + pad, half * (1 + FACE_MARGIN)
        rows = slice(int(middle_y - half), int(middle_y + half * (1 + 2 * FACE_MARGIN)))
        return cv2.resize(padded[rows, int(middle_x - side) : int(middle_x + side)], (FACE_SIZE, FACE_SIZE))

    def embed_faces(self, faces: np.ndarray, starts: np.ndarray) -> np.ndarray:
        """As Expert.embed_faces, for crops of FACE_SIZE."""

        def embed(rows: np.ndarray) -> np.ndarray:
            windows = picture_windows(faces, rows, self.hp.window_frames)
            return self._run(self.network.embed_faces, windows.transpose(0, 4, 1, 2, 3).astype(np.float32))

        return embed_in_batches(embed, starts)

    def embed_audio(self, wav: np.ndarray) -> np.ndarray:
        """As Expert.embed_audio, at the level that the sound has, so that numbers are those of the papers."""
        columns = mfcc(wav)

        def embed(starts: Sequence[int]) -> np.ndarray:
            parts = [columns[start : start + MFCC_COLUMNS].T[None] for start in starts]
            return self._run(self.network.embed_audio, np.stack(parts))

        return embed_in_batches(embed, range(0, len(columns) - MFCC_COLUMNS + 1, MFCC_COLUMNS_PER_FRAME))

    @torch.inference_mode()
    def _run(self, encoder: Callable[[torch.Tensor], torch.Tensor], batch: np.ndarray) -> np.ndarray:
        return encoder(torch.from_numpy(batch).to(self.device)).cpu().numpy()


def load_scorer(path: Path, device: torch.device) -> Scorer:
    """The scorer whose weights the file holds."""
    content = weight_files.read(path)
    if "netcnnlip.0.weight" in content["state_dict"]:
        return PublishedSyncNet(path, content, device)
    return Expert.from_content(path, content, Precision("auto", device))
