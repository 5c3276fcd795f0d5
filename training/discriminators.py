"""Training of the discriminators of --gan, and the adversarial loss they give the generator."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from hparams import HParams
from models import Wav2Lip_disc_qual
from models.discriminators import PatchDiscriminator
from training import checkpoint, losses
from training.network import TrainableNetwork
from utils import distributed
from utils.devices import Precision
from utils.images import lower_half

BETAS = (0.5, 0.999)
R1_EVERY = 8  # steps
LARGEST_WEIGHT = 1e4


class DiscriminatorTrainer(TrainableNetwork, ABC):
    """A discriminator under training, and the loss it gives the generator. Frames are [F, 3, S, S] in 0..1."""

    picture_share = 0.0  # of the picture loss's weight, which the adversarial loss takes

    @abstractmethod
    def generator_loss(self, generated: Tensor, target: Tensor, picture: Tensor, last: Tensor, step: int) -> Tensor:
        """The weighted adversarial loss, a scalar; no gradient reaches the discriminator's own weights.

        picture: the picture loss; last: the weights of the generator's last convolution.
        """

    @abstractmethod
    def train_on(self, generated: Tensor, target: Tensor, step: int) -> Tensor:
        """Backward pass on real and generated frames; returns the loss."""


class PublishedTrainer(DiscriminatorTrainer):
    """The published discriminator, with the published loss and weight (Wav2Lip, ACM MM 2020, section 3.3)."""

    def __init__(self, hp: HParams, precision: Precision) -> None:
        super().__init__(Wav2Lip_disc_qual(hp.width), hp, precision, hp.disc_initial_learning_rate, betas=BETAS)
        self.picture_share = hp.disc_wt

    def generator_loss(self, generated: Tensor, target: Tensor, picture: Tensor, last: Tensor, step: int) -> Tensor:
        logits = self.frozen(generated.unsqueeze(2), logits=True)
        return self.hp.disc_wt * losses.real_fake_bce(logits, real=True)

    def train_on(self, generated: Tensor, target: Tensor, step: int) -> Tensor:
        frames = torch.cat((target, generated.detach())).unsqueeze(2)  # [2F, 3, 1, S, S]
        real, fake = self(frames, logits=True).chunk(2)
        loss = losses.real_fake_bce(real, real=True) + losses.real_fake_bce(fake, real=False)
        self.backward(loss)
        return loss.detach()


class PatchTrainer(DiscriminatorTrainer):
    """The patch discriminator. Its loss and feature differences are weighted so that their gradient at the generator's
    last layer is a fixed share of the picture loss's (after VQGAN, arXiv 2012.09841, section 3.1). A gradient penalty
    on real pictures keeps it smooth (R1, arXiv 1801.04406)."""

    def __init__(self, hp: HParams, precision: Precision) -> None:
        single = Precision("fp32", precision.device)  # the penalty's second derivatives
        super().__init__(PatchDiscriminator(), hp, single, hp.disc_initial_learning_rate, betas=BETAS)

    def generator_loss(self, generated: Tensor, target: Tensor, picture: Tensor, last: Tensor, step: int) -> Tensor:
        if step <= self.hp.disc_alone:
            return torch.zeros((), device=generated.device)
        logits, features = self.frozen(lower_half(generated.float()))
        with torch.no_grad():
            _, true_features = self.frozen(lower_half(target))
        differences = [F.l1_loss(ours, true) for ours, true in zip(features, true_features, strict=True)]
        loss = F.softplus(-logits).mean() + self.hp.disc_features_wt * torch.stack(differences).mean()
        slopes = [torch.autograd.grad(part, last, retain_graph=True)[0] for part in (picture, loss)]
        norms = distributed.mean_of(torch.stack([slope.norm() for slope in slopes]))  # one weight in all processes
        weight = (self.hp.disc_share * norms[0] / (norms[1] + 1e-8)).clamp(max=LARGEST_WEIGHT)
        return weight.detach() * loss

    def train_on(self, generated: Tensor, target: Tensor, step: int) -> Tensor:
        penalised = bool(self.hp.disc_r1) and step % R1_EVERY == 0
        generated = generated.detach().float()
        real = lower_half(target).clone().requires_grad_(penalised)
        network = self.plain if penalised else self
        logits, _ = network(torch.cat((real, lower_half(generated))))
        of_real, of_fake = logits.chunk(2)
        loss = F.softplus(-of_real).mean() + F.softplus(of_fake).mean()
        total = loss
        if penalised:
            (slope,) = torch.autograd.grad(of_real.sum(), real, create_graph=True)
            total = loss + R1_EVERY * self.hp.disc_r1 / 2 * slope.square().sum(dim=(1, 2, 3)).mean()
        self.backward(total)
        return loss.detach()


# By hparams disc
TRAINERS: dict[str, Callable[[HParams, Precision], DiscriminatorTrainer]] = {
    "published": PublishedTrainer,
    "patch": PatchTrainer,
}


def open_discriminator(
    hp: HParams, precision: Precision, start: Path | None, given: Path | None, resumes: bool, weights_only: bool
) -> DiscriminatorTrainer:
    """The discriminator of a run with --gan, with the weights it starts from.

    start: the generator's checkpoint; given: --disc_checkpoint_path; resumes: whether the run is resumed in its folder.
    """
    path, saved = given, checkpoint.beside(start) if start else None
    if saved and saved.exists() and (resumes or (given is None and not weights_only)):
        path = saved
    if path is None and saved and not weights_only:
        print(f"{saved}: not found; the discriminator starts from random weights", flush=True)
    trainer = TRAINERS[hp.disc](hp, precision)
    trainer.restore(checkpoint.read_checkpoint(path) if path else {}, path, weights_only)
    return trainer
