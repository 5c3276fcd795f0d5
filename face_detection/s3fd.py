"""S3FD (Zhang et al., ICCV 2017), the detector that the published weights were prepared with."""

from pathlib import Path

import cv2
import numpy as np
import torch

from face_detection.crop import LONGEST_SIDE, shrink, unscaled
from face_detection.detectors import MEAN_BGR, Thresholds, best_boxes, grid_anchors
from utils import weight_files

STRIDES = (4, 8, 16, 32, 64, 128)
ANCHOR_PER_STRIDE = 4


class S3FD:
    """weights: path of s3fd.pth or its state dict; device: where the network runs; threads: CPU threads of PyTorch in
    this process, None leaves them as they are."""

    thresholds = Thresholds(candidate=0.05, overlap=0.3, keep=0.5)

    def __init__(self, weights: str | Path | dict, device: str = "cpu", threads: int | None = None) -> None:
        from face_alignment.detection.sfd.net_s3fd import s3fd  # half a second to import, wanted only with weights

        state = weights if isinstance(weights, dict) else weight_files.read(weights)["state_dict"]
        if threads:
            torch.set_num_threads(threads)
        self.name = "S3FD"
        self.device = torch.device(device)
        self.network = s3fd()
        weight_files.load_into(self.network, state, "s3fd weights" if isinstance(weights, dict) else weights)
        self.network.eval().to(self.device, memory_format=torch.channels_last)

    def detect(self, frames: list[np.ndarray]) -> list[np.ndarray]:
        """frames: BGR uint8 [H, W, 3], all of one size -> for each float32 [N, 5] (x1 y1 x2 y2 score), best first."""
        small, scales = zip(*(shrink(frame, LONGEST_SIDE) for frame in frames), strict=True)
        heads = self.heads(np.stack(small))
        offsets, anchors, scores = [], [], []
        for logits, regressed, stride in zip(heads[0::2], heads[1::2], STRIDES, strict=True):
            B, _, H, W = regressed.shape
            anchors.append(grid_anchors(H, W, stride, (stride * ANCHOR_PER_STRIDE,)))
            offsets.append(regressed.permute(0, 2, 3, 1).reshape(B, H * W, 4))
            scores.append(logits.softmax(dim=1)[:, 1].reshape(B, H * W))
        all_anchors = np.concatenate(anchors)  # [N, 4]
        images = zip(torch.cat(offsets, dim=1).cpu().numpy(), torch.cat(scores, dim=1).cpu().numpy(), strict=True)
        return [
            unscaled(best_boxes(image_offsets, all_anchors, image_scores, self.thresholds), scales[0])
            for image_offsets, image_scores in images
        ]

    @torch.inference_mode()
    def heads(self, images: np.ndarray) -> list[torch.Tensor]:
        """Raw outputs for BGR uint8 [B, H, W, 3]: class logits [B, 2, h, w] and offsets [B, 4, h, w] per stride."""
        blob = torch.from_numpy(cv2.dnn.blobFromImages(list(images), mean=MEAN_BGR))
        return self.network(blob.to(self.device, memory_format=torch.channels_last))
