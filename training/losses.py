"""The training objectives as functions of tensors (Wav2Lip, ACM MM 2020, section 3)."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from utils.images import lower_half

TEMPERATURE = 0.07  # of the expert's choice among sounds
MOUTH, MOUTH_RADII = (0.766, 0.5), (0.19, 0.27)  # centre and radii of its ellipse, down and across, of the face


def cosine_bce(audio: Tensor, face: Tensor, in_sync: Tensor) -> Tensor:
    """BCE of the embeddings' cosine similarity against in_sync.

    audio, face [B, D]: the expert's embeddings; in_sync [B] of 0 and 1. Returns a scalar, computed in float32; NaN
    where an embedding has no numbers, which binary_cross_entropy would raise for, on a GPU for good.
    """
    cosine = F.cosine_similarity(audio.float(), face.float())  # [B]
    loss = F.binary_cross_entropy(cosine.nan_to_num().clamp(0.0, 1.0), in_sync.float())
    return torch.where(cosine.isnan().any(), torch.nan, loss)


def clip_pairs_loss(audio: Tensor, face: Tensor, windows: int, softmax_weight: float) -> Tensor:
    """Every face of a clip against every sound of the same clip, so that the voice alone does not give the answer: BCE
    of the cosines, half of it for the face's own sound and half for the others, and softmax_weight times the
    cross-entropy of the face's choice among the sounds, at temperature TEMPERATURE.

    audio, face [B, D], of unit length, `windows` rows of one clip after another. A scalar, computed in float32.
    """
    audio, face = (embedding.float().unflatten(0, (-1, windows)) for embedding in (audio, face))  # [C, W, D]
    cosines = face @ audio.transpose(1, 2)  # [C, W, W]
    chances = cosines.clamp(1e-6, 1 - 1e-6)
    own = chances.diagonal(dim1=1, dim2=2).flatten()
    others = chances.flatten(1)[:, 1:].unflatten(1, (windows - 1, windows + 1))[..., :-1].flatten()  # without a mask,
    bce = 0.5 * (-torch.log(own).mean() - torch.log1p(-others).mean())  # for whose count a GPU would be waited for
    choice = torch.arange(windows, device=cosines.device).expand(len(cosines), -1)
    return bce + softmax_weight * F.cross_entropy(cosines.flatten(0, 1) / TEMPERATURE, choice.flatten())


def sync_loss(expert: Any, mel: Tensor, generated: Tensor, target: Tensor, face_weight: float) -> Tensor:
    """The expert's loss of generated windows: -log cos(face, sound), and face_weight times 1 - cos(face, true face)
    (visual-visual, after arXiv 2307.09368).

    mel [B, 1, 80, 16]; generated and target [B, 3, T, H, W] in 0..1. Returns a scalar.
    """
    audio, face = expert(mel, expert_faces(generated))
    loss = cosine_bce(audio, face, torch.ones(len(mel), device=mel.device))
    if not face_weight:
        return loss
    with torch.no_grad():
        true_face = expert.embed_faces(expert_faces(target))
    return loss + face_weight * (1 - F.cosine_similarity(face.float(), true_face.float())).mean()


def expert_faces(faces: Tensor) -> Tensor:
    """Windows of faces [B, 3, T, H, W] in 0..1 as the expert takes them: lower halves, frames stacked on channels,
    [B, 3·T, H/2, W]."""
    halves = lower_half(faces)  # [B, 3, T, H/2, W]
    return halves.transpose(1, 2).flatten(1, 2)


def mouth_weights(size: int, mouth_weight: float) -> Tensor:
    """Weights [size, size] of the picture loss, of mean 1: mouth_weight in the mouth's ellipse for each 1 outside."""
    down, across = torch.meshgrid(torch.linspace(0, 1, size), torch.linspace(0, 1, size), indexing="ij")
    inside = ((down - MOUTH[0]) / MOUTH_RADII[0]) ** 2 + ((across - MOUTH[1]) / MOUTH_RADII[1]) ** 2 <= 1
    weights = 1 + (mouth_weight - 1) * inside.float()
    return weights / weights.mean()


def picture_loss(generated: Tensor, target: Tensor, weights: Tensor, gradient_weight: float) -> Tensor:
    """L1 of pictures [F, 3, H, W] and gradient_weight times the L1 of their gradients, under weights [H, W]."""
    difference = generated.float() - target
    loss = (weights * difference.abs()).mean()
    if not gradient_weight:
        return loss
    across, down = difference.diff(dim=-1).abs(), difference.diff(dim=-2).abs()
    return loss + gradient_weight * ((weights[:, 1:] * across).mean() + (weights[1:] * down).mean())


def real_fake_bce(logits: Tensor, real: bool) -> Tensor:
    """BCE of the discriminator's logits [N, 1] against all real or all fake, computed in float32: in half precision a
    sigmoid rounds to 1, where the loss has no gradient."""
    logits = logits.float()
    return F.binary_cross_entropy_with_logits(logits, torch.full_like(logits, float(real)))


def generator_loss(
    picture: Tensor, sync: Tensor, sync_weight: float, adversarial: Tensor, picture_share: float
) -> Tensor:
    """s·sync + adversarial + (1-s-d)·picture, where the adversarial term, weighted already, takes d = picture_share of
    the picture loss's weight."""
    return sync_weight * sync + adversarial + (1.0 - sync_weight - picture_share) * picture
