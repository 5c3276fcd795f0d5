"""Training of the refiner on a generator's own faces: from those, the frames' upper halves and sharp crops of the same
person to the true faces at the footage's resolution."""

from dataclasses import replace
from functools import cached_property

import cv2
import numpy as np
import torch
from torch.utils.tensorboard import SummaryWriter

from data.clip import Clip
from data.clip_bank import ClipBank
from data.sharp_faces import SharpFaces, sharp_size
from face_detection.crop import to_network_size
from hparams import HParams
from metrics import generator_score
from metrics.detail import detail_scores, mouth_weight
from metrics.experts import Expert
from metrics.generator_score import ClipDub, ClipDubber
from metrics.likeness import mouth_likeness
from models import Wav2Lip, face_refiner
from models.batched_generator import fold_batch_norms
from models.checkpoint import build_network, hparams_of
from models.face_refiner import pictures_to_tensor, tensor_to_pictures
from models.inputs import generator_faces, lower_half
from models.published import default_expert, default_generator
from models.reference_bank import PREFIX, describe
from models.refiner import Refiner, enlarge
from training import losses, samples, summary
from training.network import TrainableNetwork
from training.options import RefinerOptions
from training.trainer import Schedule, Training
from utils import weight_files
from utils.devices import Precision
from utils.files import sha256

RECIPE = "warmup_steps=50,cosine_lr=True,clip_norm=0.1"  # hparams of a new run, unless --hparams says otherwise
OUTSIDE_WEIGHT, MOUTH_WEIGHT = 0.2, 2.0  # of the loss, outside the mouth's area, and inside besides
SCORED_CLIPS, SAMPLES = 4, 6
SAMPLE_ROWS = ("generated", "reference", "refined", "true")


class RefinerTraining(Training):
    """The refiner learns to restore the true face from the generated one; the generator stays as it is."""

    windows_class = SharpFaces
    options: RefinerOptions

    def __init__(self, options: RefinerOptions) -> None:
        path = options.checkpoint_path or default_generator()
        self.generator_content = weight_files.read(path, mapped=True)
        generator, _ = build_network(Wav2Lip, self.generator_content, path)
        expert = Expert.load(
            options.syncnet_checkpoint_path or default_expert(), Precision("fp32", torch.device("cpu"))
        )
        super().__init__(options)
        hp, precision = self.hp, self.precision
        print(f"refines faces of {path} at {hp.refiner_size} pixels", flush=True)
        self.generator, self.generator_sha256 = fold_batch_norms(generator, precision), sha256(path)
        self.dubber = ClipDubber(self.generator, hp, precision)
        self.expert = expert.to(precision)
        network = Refiner(hp.refiner_size, hp.refiner_width)
        self.refiner = TrainableNetwork(network, hp, precision, hp.refiner_lr, ema=hp.refiner_ema)
        self.refiner.restore(_without_bank(self.content), self.start, self.weights_only)
        self.networks = {"": self.refiner}
        weight = OUTSIDE_WEIGHT + MOUTH_WEIGHT * lower_half(mouth_weight(hp.refiner_size))
        self.weight = torch.from_numpy(weight).to(self.device)
        self.scored_clips = generator_score.choose_clips(self.eval_windows.clips)[:SCORED_CLIPS]
        self.person = ClipBank(self.windows.clips, hp) if options.bank == "person" else None
        self.banks = {} if self.person else {clip.folder: ClipBank([clip], hp) for clip in self._all_clips()}

    def make_hparams(self) -> HParams:
        changes = self.options.hparams_overrides
        if self.resumed:
            return super().make_hparams()
        return hparams_of(self.content or self.generator_content, f"{RECIPE},{changes}", of_network=True)

    @staticmethod
    def make_schedule(hp: HParams) -> Schedule:
        return Schedule(hp.refiner_batch_size, hp.refiner_eval_interval, hp.refiner_checkpoint_interval, hp.eval_early)

    def objective(self, scores: dict[str, float]) -> float:
        """Distance in gradients, and by how much lip-sync is worse than the generator's, where the expert can tell."""
        if "sync_generated" not in scores or not summary.knows_footage(self.footage_scores):
            return scores["gradient_distance"]
        return scores["gradient_distance"] + max(0.0, scores["sync_distance"] - scores["sync_generated"])

    def train_on(self, step: int, batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        frames, references, target = (
            batch[name].movedim(-1, -3).float() / 255 for name in ("frame", "reference", "target")
        )
        generated = self._generate(batch["mel"], frames, references)
        refined = self.refiner(generated, target, self._references(batch, generated))
        values = losses.refined_losses(lower_half(refined), lower_half(target), self.weight)
        weights = {"gradient": self.hp.refiner_gradient_wt, "texture": self.hp.refiner_texture_wt}
        self.refiner.backward(values["l1"] + sum(weight * values[name] for name, weight in weights.items()))
        return {name: value.detach() for name, value in values.items()}

    @torch.no_grad()
    def _generate(self, mels: torch.Tensor, frames: torch.Tensor, references: torch.Tensor) -> torch.Tensor:
        dtype = next(self.generator.parameters()).dtype
        with self.precision.autocast():
            return self.generator(mels.to(dtype), generator_faces(frames, references).to(dtype)).float()

    def _references(self, batch: dict[str, torch.Tensor], generated: torch.Tensor) -> torch.Tensor:
        """For each item the pictures of the bank most like what was generated: [B, K, 3, S, S]; mirrored with it."""
        mouths, poses = tensor_to_pictures(generated), batch["frame"].cpu().numpy()
        places = (batch[name].tolist() for name in ("clip", "row", "mirrored"))
        chosen = []
        for mouth, pose, number, row, mirrored in zip(mouths, poses, *places, strict=True):
            if mirrored:
                mouth, pose = cv2.flip(mouth, 1), cv2.flip(pose, 1)
            clip = self.windows.clips[number]
            pictures = self._bank_of(clip).nearest(describe(pose[None], mouth[None]), clip, row)
            chosen.append(np.flip(pictures, axis=2) if mirrored else pictures)
        return pictures_to_tensor(np.stack(chosen), self.device)

    def _bank_of(self, clip: Clip) -> ClipBank:
        return self.person or self.banks[clip.folder]

    def _all_clips(self) -> list[Clip]:
        return self.windows.clips + self.scored_clips

    def refine(self, dub: ClipDub) -> np.ndarray:
        """The dub's faces refined, uint8 BGR [N, S, S, 3]."""
        shown = self._sharp(dub.clip, len(dub.faces))
        bank, refined = self._bank_of(dub.clip), []
        for row in range(len(dub.faces)):
            descriptor = describe(shown[row : row + 1], dub.faces[row : row + 1])
            references = pictures_to_tensor(bank.nearest(descriptor, dub.clip, row)[None], self.device)
            one = slice(row, row + 1)
            network = self.refiner.best_weights
            refined.append(
                face_refiner.refine_faces(network, dub.faces[one], shown[one], references, self.precision)[0]
            )
        return np.stack(refined)

    def _sharp(self, clip: Clip, count: int) -> np.ndarray:
        return np.stack([sharp_size(clip.picture(row), self.hp.refiner_size) for row in range(count)])

    def _small(self, refined: np.ndarray) -> np.ndarray:
        return np.stack([to_network_size(face, self.hp.img_size) for face in refined])

    @cached_property
    def redrawn(self) -> list[ClipDub]:
        """The clips generated to their own speech."""
        return [self.dubber.redraw(clip) for clip in self.scored_clips]

    @cached_property
    def dubbed(self) -> list[ClipDub]:
        """The clips generated to the speech of another."""
        return [self.dubber.dub(clip, speech) for clip, speech in generator_score.speech_pairs(self.scored_clips)]

    @cached_property
    def footage_scores(self) -> dict[str, float]:
        return generator_score.footage_scores(self.expert, self.scored_clips)

    @torch.no_grad()
    def evaluate(
        self, step: int, batches: list[dict[str, torch.Tensor]], tensorboard: SummaryWriter
    ) -> dict[str, float]:
        """detail_scores over the clips, each generated to its own speech and refined; the sync of the clips dubbed with
        another's speech, refined, and as sync_generated the distance before that."""
        self.refiner.best_weights.eval()
        each = []
        for number, dub in enumerate(self.redrawn):
            refined, true = self.refine(dub), self._sharp(dub.clip, len(dub.faces))
            l1 = mouth_likeness(refined, true)["mouth_l1"]
            each.append({"mouth_l1": l1, **detail_scores(refined, true)})
            if number == 0:
                self._show(step, tensorboard, dub, refined, true)
        scores = {name: float(np.mean([values[name] for values in each])) for name in each[0]}
        refined_dubs = [replace(dub, faces=self._small(self.refine(dub))) for dub in self.dubbed]
        generated = generator_score.sync_numbers(self.expert, self.dubbed)
        scores |= generator_score.sync_numbers(self.expert, refined_dubs)
        return scores | ({"sync_generated": generated["sync_distance"]} if generated else {})

    def _show(self, step: int, tensorboard: SummaryWriter, dub: ClipDub, refined: np.ndarray, true: np.ndarray) -> None:
        """Frames of a clip, row by row (SAMPLE_ROWS): enlarged, nearest reference, refined, true."""
        rows = np.linspace(0, len(true) - 1, SAMPLES).astype(int)
        bank, size = self._bank_of(dub.clip), self.hp.refiner_size
        cpu = torch.device("cpu")
        nearest = [
            bank.nearest(describe(true[row : row + 1], dub.faces[row : row + 1]), dub.clip, row)[0] for row in rows
        ]
        enlarged = enlarge(pictures_to_tensor(dub.faces[rows], cpu), size)
        others = [pictures_to_tensor(faces, cpu) for faces in (np.stack(nearest), refined[rows], true[rows])]
        picture = samples.grid(dict(zip(SAMPLE_ROWS, (enlarged, *others), strict=True)))
        samples.write_png(self.folder / "samples" / f"step{step:09d}.png", picture)
        samples.show_picture(tensorboard, "samples", picture, step)

    def on_best(self, weights: dict) -> None:
        bank = self.person.bank if self.person else None
        face_refiner.save(
            self.folder / face_refiner.PERSON, weights["state_dict"], self.hp, bank, self.generator_sha256
        )

    def write_summary(self) -> None:
        summary.write(self.folder, self.history, self.footage_scores)


def _without_bank(content: dict) -> dict:
    """The content of a checkpoint, or of a person's file, with the network's weights alone."""
    weights = {n: tensor for n, tensor in content.get("state_dict", {}).items() if not n.startswith(PREFIX)}
    return {**content, "state_dict": weights} if content else {}
