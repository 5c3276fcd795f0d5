"""The objectives, the networks and discriminators under training, and what the scores of a run say of it."""

import math

import cv2
import numpy as np
import pytest
import torch

import portrait
from conftest import NARROW
from hparams import hparams
from training import history, losses
from training.generator import TRAINERS, PatchTrainer, PublishedTrainer
from training.history import History
from training.network import TrainableNetwork, lr_factor
from utils import distributed
from utils.devices import Precision

FP32 = Precision("fp32", torch.device("cpu"))


def test_the_generators_loss_weights_sum_to_one():
    picture, sync, adversarial = torch.tensor(1.0), torch.tensor(10.0), torch.tensor(100.0)
    assert losses.generator_loss(picture, sync, 0.0, torch.tensor(0.0), 0.0) == 1
    assert losses.generator_loss(picture, sync, 0.03, 0.07 * adversarial, 0.07).item() == pytest.approx(0.9 + 0.3 + 7)


def test_the_picture_loss_is_l1_by_default_and_weighs_the_mouth_where_that_is_asked_for():
    generated, target = torch.rand(2, 3, 96, 96), torch.rand(2, 3, 96, 96)
    plain = losses.mouth_weights(96, 1.0)
    assert torch.equal(losses.picture_loss(generated, target, plain, 0.0), (generated - target).abs().mean())
    weights = losses.mouth_weights(96, 6.0)
    assert weights.mean().item() == pytest.approx(1)
    assert weights[73, 47] / weights[10, 47] == pytest.approx(6)
    wrong_mouth, wrong_forehead = target.clone(), target.clone()
    wrong_mouth[..., 64:84, 40:56] += 0.2
    wrong_forehead[..., 4:24, 40:56] += 0.2
    of_mouth, of_forehead = (losses.picture_loss(x, target, weights, 0.0) for x in (wrong_mouth, wrong_forehead))
    assert of_mouth / of_forehead == pytest.approx(6, rel=1e-3)
    brighter = losses.picture_loss(target + 0.1, target, plain, 1.0)  # gradients tell blur, and not brightness
    assert brighter.item() == pytest.approx(0.1, rel=1e-3)
    blurred = torch.nn.functional.avg_pool2d(target, 3, 1, 1)
    assert losses.picture_loss(blurred, target, plain, 1.0) - losses.picture_loss(blurred, target, plain, 0.0) > 0.2


def test_the_pairs_of_a_clip_are_judged_against_one_another_alone():
    own = torch.eye(4).repeat(2, 1)  # two clips with the same four embeddings: no clip sees the other's
    assert losses.clip_pairs_loss(own, own, 4, 0.0) < 1e-4
    wrong = own[[1, 0, 3, 2, 5, 4, 7, 6]]
    assert losses.clip_pairs_loss(own, wrong, 4, 0.0) > 3
    alike = torch.full((8, 4), 0.5)  # every cosine is 1
    assert losses.clip_pairs_loss(alike, alike, 4, 0.0).item() == pytest.approx(-0.5 * math.log(1e-6), rel=1e-2)
    with_choice = losses.clip_pairs_loss(alike, alike, 4, 0.2) - losses.clip_pairs_loss(alike, alike, 4, 0.0)
    assert with_choice.item() == pytest.approx(0.2 * math.log(4), rel=1e-3)  # guessing one of four


class Mean(torch.nn.Module):
    """An expert whose face embedding is the faces' mean colour."""

    def forward(self, mel, faces):
        return torch.ones(len(mel), 3), self.embed_faces(faces)

    def embed_faces(self, faces):
        return faces.unflatten(1, (-1, 3)).mean(dim=(1, 3, 4))


def test_the_sync_loss_may_compare_with_the_true_faces_besides():
    mel = torch.zeros(2, 1, 80, 16)
    grey = torch.full((2, 3, 5, 96, 96), 0.5)
    red = grey.clone()
    red[:, :2] = 0
    by_sound = losses.sync_loss(Mean(), mel, grey, red, 0.0)
    assert by_sound.item() == pytest.approx(0, abs=1e-5)
    cosine = 1 / math.sqrt(3)
    assert losses.sync_loss(Mean(), mel, grey, red, 1.0).item() == pytest.approx(1 - cosine, rel=1e-3)
    assert losses.sync_loss(Mean(), mel, grey, grey, 1.0).item() == pytest.approx(0, abs=1e-5)


@pytest.fixture
def drawn() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Pictures that a last layer has drawn, what they should be, and the last layer."""
    last_layer = torch.rand(3, 3, requires_grad=True)
    generated = torch.einsum("ij,bjhw->bihw", last_layer, torch.rand(2, 3, 96, 96)) / 3
    return generated, torch.rand(2, 3, 96, 96), last_layer


@pytest.mark.parametrize("kind", sorted(TRAINERS))
def test_no_gradient_of_the_generators_loss_reaches_the_discriminator(kind, drawn):
    trainer = TRAINERS[kind](NARROW, FP32)
    generated, target, last_layer = drawn
    trainer.generator_loss(generated, target, (generated - target).abs().mean(), last_layer, step=1000).backward()
    assert last_layer.grad.abs().sum() > 0
    assert all(parameter.grad is None for parameter in trainer.network.parameters())
    trainer.train_on(generated, target, step=8)
    assert all(parameter.grad is not None for parameter in trainer.network.parameters())


def test_the_patch_discriminator_learns_to_tell_blurred_faces_from_sharp_ones():
    torch.manual_seed(0)
    trainer = PatchTrainer(NARROW.override("disc=patch,disc_initial_learning_rate=1e-3"), FP32)
    face = cv2.resize(portrait.portrait()[40:200, 150:310], (112, 112))
    crops = [face[y : y + 96, x : x + 96] for y in (0, 8) for x in (0, 8)]
    real, fake = (
        torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).float() / 255
        for images in (crops, [cv2.GaussianBlur(crop, (0, 0), 1.5) for crop in crops])
    )
    loss = []
    for step in range(1, 61):
        loss.append(float(trainer.train_on(fake, real, step)))
        trainer.update(step, 0.0)
    assert loss[0] > 1.3 and np.mean(loss[-12:]) < 1  # 1.39: it cannot tell


def test_the_patch_discriminators_gradient_is_held_at_its_share_and_comes_in_after_it_was_alone(drawn, monkeypatch):
    hp = NARROW.override("disc=patch,disc_share=0.3,disc_alone=5")
    trainer = PatchTrainer(hp, FP32)
    generated, target, last_layer = drawn
    picture = (generated - target).abs().mean()
    assert trainer.generator_loss(generated, target, picture, last_layer, step=5) == 0
    term = trainer.generator_loss(generated, target, picture, last_layer, step=6)
    norms = [torch.autograd.grad(part, last_layer, retain_graph=True)[0].norm() for part in (picture, term)]
    assert (norms[1] / norms[0]).item() == pytest.approx(0.3, rel=1e-3)
    monkeypatch.setattr(distributed, "mean_of", lambda norms: norms * torch.tensor([2.0, 1.0]))  # of all processes
    assert torch.allclose(trainer.generator_loss(generated, target, picture, last_layer, step=6), 2 * term)
    assert trainer.picture_share == 0
    assert PublishedTrainer(hp, FP32).picture_share == hp.disc_wt


def test_a_confident_wrong_discriminator_has_a_gradient_in_half_precision():
    logits = torch.tensor([[7.0]], dtype=torch.bfloat16, requires_grad=True)
    loss = losses.real_fake_bce(logits, real=False)
    loss.backward()
    assert loss.item() == pytest.approx(7.0009, abs=0.01)
    assert logits.grad.item() == pytest.approx(1.0, abs=0.01)


def test_the_sync_loss_of_no_number_is_no_number_and_else_the_published_one():
    audio, face = torch.rand(4, 8), torch.rand(4, 8)
    in_sync = torch.tensor([1.0, 0.0, 1.0, 0.0])
    cosine = torch.nn.functional.cosine_similarity(audio, face)
    published = torch.nn.functional.binary_cross_entropy(cosine, in_sync)
    assert torch.equal(losses.cosine_bce(audio, face, in_sync), published)
    assert losses.cosine_bce(audio * torch.nan, face, in_sync).isnan()


def small(values: str = "", ema: float = 0.0) -> TrainableNetwork:
    torch.manual_seed(0)
    return TrainableNetwork(torch.nn.Linear(3, 2), hparams.override(values), FP32, 0.1, ema=ema)


@pytest.mark.parametrize("values", ["clip_norm=0.5", ""])
def test_gradients_are_scaled_down_to_the_norm_that_was_asked_for(values, monkeypatch):
    network, seen = small(values), []

    def step(*_):
        gradients = [parameter.grad for parameter in network.network.parameters()]
        seen.append(torch.cat([gradient.flatten() for gradient in gradients]).norm().item())

    monkeypatch.setattr(network.optimizer, "step", step)
    network.backward(40 * network(torch.ones(1, 3)).sum())
    network.update(1, 0.0)
    assert seen == [pytest.approx(0.5, rel=0.01)] if values else seen[0] > 70


def test_the_learning_rate_is_warmed_up_and_falls_to_zero():
    hp = hparams.override("warmup_steps=10,cosine_lr=True")
    factors = [lr_factor(step, (step - 1) / 100, hp) for step in range(1, 101)]
    assert factors[0] == pytest.approx(0.1)
    assert factors[9] == pytest.approx(1, abs=0.03)
    assert factors[50] == pytest.approx(0.5)
    assert factors[-1] < 0.001
    assert all(lr_factor(step, step / 100, hparams) == 1 for step in (1, 50, 100))


def test_a_step_in_parts_gives_the_gradient_of_the_whole(tmp_path):
    inputs, wanted = torch.randn(8, 3), torch.randn(8, 2)

    def trained(parts: int):
        torch.manual_seed(0)
        hp = hparams.override(f"accumulate={parts},clip_norm=0.01")
        device = torch.device("cpu")
        learner = TrainableNetwork(torch.nn.Linear(3, 2), hp, Precision("fp32", device), 0.1, ema=0.5)
        for step in (1, 2):
            for x, y in zip(inputs.chunk(parts), wanted.chunk(parts), strict=True):
                learner.backward((learner(x) - y).square().mean())
            learner.update(step, (step - 1) / 2)
        return learner

    whole, parts = trained(1), trained(4)
    assert torch.allclose(whole.network.weight, parts.network.weight, atol=1e-6)
    assert not torch.equal(whole.network.weight, whole.best_weights.weight)  # the average lags behind


START = {"mouth_l1": 0.05, "sync_distance": 0.6, "contrast": 0.9, "motion": 0.83}
KNOWN = {"sync_offset": 0.0, "sync_evidence": 20.0}
SHIFTED, UNSURE = KNOWN | {"sync_offset": 3.0}, KNOWN | {"sync_evidence": 1.0}


@pytest.mark.parametrize(
    ("start", "changes", "footage", "better"),
    [
        (START, {"mouth_l1": 0.02}, KNOWN, True),
        (START, {"mouth_l1": 0.02, "sync_distance": 0.8}, KNOWN, False),
        (START, {"mouth_l1": 0.0499}, KNOWN, False),
        (START, {"mouth_l1": 0.02, "motion": 0.68}, KNOWN, False),  # the mean of all mouths hardly moves
        (START, {"mouth_l1": 0.02, "contrast": 1.3}, KNOWN, False),
        (START, {"sync_distance": 0.4}, SHIFTED, False),  # an expert that fails on the real footage counts for nothing
        (START, {"mouth_l1": 0.03, "sync_distance": 0.9}, UNSURE, True),
    ],
)
def test_better_is_what_improved_without_a_loss(start, changes, footage, better):
    found, sentence = history.compare_scores(start, start | changes, footage)
    assert found is better
    assert sentence.startswith("better" if better else "not better")


def test_the_best_mouth_is_weighed_by_likeness_contrast_and_the_sync_of_a_reliable_expert():
    def score(footage, **changes):
        return history.relative_score(START | changes, START, footage)

    assert score(KNOWN) == score(UNSURE) == 3
    assert score(KNOWN, mouth_l1=0.04) < 3
    assert all(score(KNOWN, contrast=value) > 3 for value in (0.7, 1.3))
    assert score(KNOWN, mouth_l1=0.04, sync_distance=0.75) > 3
    assert score(UNSURE, mouth_l1=0.04, sync_distance=0.75) < 3


def entry(step: int, **scores) -> dict:
    return {"step": step, "losses": {}, "scores": START | scores}


def run_of(*entries: dict, best_step: int = 0) -> History:
    return History({"history": list(entries), "best_step": best_step}, None)


def test_a_run_is_judged_by_its_best_and_where_that_is_the_start_by_its_last_evaluation():
    entries = [entry(0), entry(50, mouth_l1=0.06), entry(100, mouth_l1=0.077, contrast=0.7)]
    better, sentence = run_of(*entries).verdict(KNOWN)
    assert better is False
    assert all(part in sentence for part in ("step 100", "mouth L1 +54%"))
    assert run_of(entry(0)).verdict(KNOWN)[0] is None
    assert run_of(*entries, entry(200, mouth_l1=0.04), best_step=200).verdict(KNOWN)[0] is True
    (remark,) = run_of(entry(0), entry(50, mouth_l1=0.056, sync_distance=0.5)).remarks(KNOWN)
    assert all(part in remark for part in ("step 50", "mouth L1 +12%", "sync distance -17%"))
    assert run_of(entry(0), entry(50, mouth_l1=0.0505)).remarks(KNOWN) == []
    assert run_of(entry(50), entry(100, mouth_l1=0.09)).remarks(KNOWN) == []  # its start is not known
