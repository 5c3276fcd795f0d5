"""The training objectives as functions of tensors (Wav2Lip, ACM MM 2020, section 3)."""

import torch
import torch.nn.functional as F

from models.inputs import expert_faces

TEXTURE_CELLS = 32  # across the face


def cosine_bce(audio: torch.Tensor, face: torch.Tensor, in_sync: torch.Tensor) -> torch.Tensor:
    """BCE of the embeddings' cosine similarity against in_sync.

    audio, face [B, D]: the expert's embeddings; in_sync [B] of 0 and 1. Returns a scalar, computed in float32.
    """
    cosine = F.cosine_similarity(audio.float(), face.float())  # [B]
    return F.binary_cross_entropy(cosine.clamp(0.0, 1.0), in_sync.float())


def all_pairs_bce(audio: torch.Tensor, face: torch.Tensor) -> torch.Tensor:
    """BCE of the cosine similarities of every sound with every face of a batch: in sync with its own, off sync with
    all others; the two means count half each.

    audio, face [B, D], of unit length, B at least 2. Returns a scalar, computed in float32.
    """
    cosines = (audio.float() @ face.float().T).clamp(1e-6, 1 - 1e-6)  # [B, B]
    own = torch.eye(len(cosines), dtype=torch.bool, device=cosines.device)
    return 0.5 * (-torch.log(cosines[own]).mean() - torch.log1p(-cosines[~own]).mean())


def sync_loss(expert: torch.nn.Module, mel: torch.Tensor, generated: torch.Tensor) -> torch.Tensor:
    """The expert's loss of a generated window.

    mel [B, 1, 80, 16], generated [B, 3, T, H, W] in 0..1. Returns a scalar.
    """
    audio, face = expert(mel, expert_faces(generated))
    return cosine_bce(audio, face, torch.ones(len(mel), device=mel.device))


def real_fake_bce(logits: torch.Tensor, real: bool) -> torch.Tensor:
    """BCE of the discriminator's logits [N, 1] against all real or all fake, computed in float32: in half precision a
    sigmoid rounds to 1, where the loss has no gradient."""
    logits = logits.float()
    return F.binary_cross_entropy_with_logits(logits, torch.full_like(logits, float(real)))


def generator_loss(
    l1: torch.Tensor, sync: torch.Tensor, adversarial: torch.Tensor, sync_weight: float, adversarial_weight: float
) -> torch.Tensor:
    """s·sync + d·adversarial + (1-s-d)·L1."""
    l1_weight = 1.0 - sync_weight - adversarial_weight
    return sync_weight * sync + adversarial_weight * adversarial + l1_weight * l1


def refined_losses(refined: torch.Tensor, target: torch.Tensor, weight: torch.Tensor) -> dict[str, torch.Tensor]:
    """Of refined lower halves [B, 3, H, W] in 0..1 beside the true ones, each a mean under weight [H, W].

    l1; gradient: L1 of the differences of neighbouring pixels; texture: by how much the strength of the Laplacian, as
    a local average, is wrong, wherever its lines may lie: L1 alone makes what cannot be foreseen smooth.
    """
    difference = refined - target
    across, down = difference.diff(dim=-1).abs(), difference.diff(dim=-2).abs()
    texture = (_texture(refined) - _texture(target)).abs()
    return {
        "l1": (weight * difference.abs()).mean(),
        "gradient": (weight[:, 1:] * across).mean() + (weight[1:] * down).mean(),
        "texture": texture.mean(),
    }


def _texture(pictures: torch.Tensor) -> torch.Tensor:
    """Local averages of the Laplacian's absolute value, about a sixteenth of the width apart."""
    luma = pictures.mean(dim=1, keepdim=True)
    kernel = luma.new_tensor([[0, 1, 0], [1, -4, 1], [0, 1, 0]])[None, None]
    cells = pictures.shape[-1] // TEXTURE_CELLS
    return F.avg_pool2d(F.conv2d(luma, kernel, padding=1).abs(), 2 * cells, cells)
