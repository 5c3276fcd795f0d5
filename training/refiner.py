"""Training of the refiner on a generator's own faces: from those, the frames' upper halves and sharp crops of the same
person to the true faces at the footage's resolution."""

from dataclasses import replace
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch.utils.tensorboard import SummaryWriter

from data.sharp_faces import ClipBank, SharpFaces, sharp_face
from face_detection.crop import resized
from hparams import HParams
from metrics import generators
from metrics.generators import ClipDub, ClipDubber
from metrics.similarity import detail_scores, mouth_area, mouth_likeness
from metrics.sync import Expert, load_expert
from models.backend import Backend
from models.face_refiner import PERSON, FaceRefiner, ReferenceBank, describe, without_bank
from models.published import default_expert, default_generator
from models.refiner_network import Refiner
from models.torch_backend import array_networks, build_network, fold_batch_norms, hparams_of, save_refiner
from models.wav2lip import to_floats
from training import RefinerOptions, checkpoint, history, losses
from training.base import Batch, Training
from training.network import TrainableNetwork
from utils import weight_files
from utils.cli import command
from utils.errors import InputError
from utils.images import lower_half
from utils.progress import Progress

RECIPE = "warmup_steps=50,cosine_lr=True,clip_norm=0.1"  # hparams of a new run, unless --hparams says otherwise
OUTSIDE_WEIGHT, MOUTH_WEIGHT = 0.2, 2.0  # of the loss, outside the mouth's area, and inside besides
SCORED_CLIPS, SAMPLES = 4, 6


class RefinerTraining(Training):
    """The refiner learns to restore the true face from the generated one; the generator stays as it is."""

    network_name = "refiner"
    prefix = "refiner_"
    rate_names = ("refiner_lr",)
    windows_class = SharpFaces
    options: RefinerOptions
    windows: SharpFaces
    expert: Expert

    def __init__(self, options: RefinerOptions) -> None:
        recorded = checkpoint.read_record(options.checkpoint_dir).get("generator_path")
        path = self.generator_path = options.generator_path or (Path(recorded) if recorded else default_generator())
        self.generator_content = weight_files.read(path)
        generator, _ = build_network("generator", self.generator_content)
        self.generator_fingerprint = weight_files.fingerprint(self.generator_content["state_dict"])
        super().__init__(options, generator=self.generator_fingerprint, bank=options.bank)
        self.record["generator_path"] = str(path.resolve())
        hp, precision = self.hp, self.precision
        print(f"refines faces of {path} at {hp.refiner_size} pixels", flush=True)
        self.dubber = ClipDubber(fold_batch_norms(generator.requires_grad_(False), precision), hp, precision)
        expert = options.syncnet_checkpoint_path or default_expert()
        self.expert = load_expert(expert, Backend("torch", precision.name, str(self.device)))
        network = Refiner(hp.refiner_size, hp.refiner_width)
        self.refiner = TrainableNetwork(network, hp, precision, hp.refiner_lr, ema=hp.refiner_ema)
        if self.content:
            weights = without_bank(self.content["state_dict"])
            self.refiner.restore({**self.content, "state_dict": weights}, self.start, self.weights_only)
        self.networks = {"": self.refiner}
        weight = OUTSIDE_WEIGHT + MOUTH_WEIGHT * lower_half(mouth_area(hp.refiner_size))
        self.weight = torch.from_numpy(weight).to(self.device)
        self._open_banks(options.bank)

    def make_hparams(self) -> HParams:
        """As in every training; what describes the generator and its inputs is the generator's."""
        recipe = "" if self.resumed else f"{RECIPE},"
        hp = hparams_of(self.content, f"{recipe}{self.options.hparams_overrides}", of_network=self.weights_only)
        of_generator = hparams_of(self.generator_content).network_values()
        return replace(hp, **{name: value for name, value in of_generator.items() if not name.startswith("refiner_")})

    def objective(self, scores: dict[str, float]) -> float:
        """Distance in gradients, and by how much lip-sync is worse than the generator's, where the expert can tell."""
        if "sync_generated" not in scores or not history.expert_is_reliable(self.footage_scores):
            return scores["gradient_distance"]
        return scores["gradient_distance"] + max(0.0, scores["sync_distance"] - scores["sync_generated"])

    def train_on(self, step: int, batch: Batch) -> dict[str, torch.Tensor]:
        generate = self.dubber.network.module
        with torch.no_grad(), self.precision.autocast():
            generated = generate(batch["frame"], batch["mel"], batch["reference"])  # uint8 [B, 96, 96, 3]
        target = to_floats(batch["target"])
        refined = self.refiner(to_floats(generated), target, to_floats(batch["references"]))
        values = losses.refined_losses(lower_half(refined), lower_half(target), self.weight)
        weights = {"gradient": self.hp.refiner_gradient_wt, "texture": self.hp.refiner_texture_wt}
        self.refiner.backward(values["l1"] + sum(weight * values[name] for name, weight in weights.items()))
        return {name: value.detach() for name, value in values.items()}

    def _open_banks(self, kind: str) -> None:
        """Give the windows their reference banks and choose the clips to be scored. Short clips, of which some frame
        has no reference since all are its neighbours, are left out."""
        hp, trained, held_out = self.hp, self.windows.clips, self.eval_windows.clips
        by_folder = {clip.folder: clip for clip in (*trained, *held_out)}
        if kind == "person":
            banks = dict.fromkeys(by_folder, ClipBank(trained, hp))
        else:
            listed = Progress(by_folder.items(), "references", unit="clip", leave=False)
            banks = {folder: ClipBank([clip], hp) for folder, clip in listed}
        clips, scored = ([clip for clip in some if banks[clip.folder].serves(clip)] for some in (trained, held_out))
        if not (clips and scored):
            raise InputError(f"--bank {kind}: the clips are too short to have references of their own; add longer ones")
        self.windows = SharpFaces(clips, hp, True, banks)
        self.eval_windows = SharpFaces([], hp)  # whole clips are scored
        self.scored_clips = generators.evenly_spaced(scored, SCORED_CLIPS)

    @cached_property
    def person(self) -> ReferenceBank | None:
        """The person's bank, which is saved with the weights."""
        return next(iter(self.windows.banks.values())).pictures() if self.options.bank == "person" else None

    @cached_property
    def dubs(self) -> list[tuple[ClipDub, ClipDub]]:
        """Each scored clip generated to its own speech, and to that of another."""
        pairs = generators.speech_pairs(self.scored_clips)
        return [(self.dubber.redraw(clip), self.dubber.dub(clip, speech)) for clip, speech in pairs]

    @torch.no_grad()
    def evaluate(self, step: int, batches: list[Batch], tensorboard: SummaryWriter) -> dict[str, float]:
        """detail_scores over the clips, each generated to its own speech and refined; the sync of the clips dubbed with
        the speech of another, refined, and as sync_generated the distance before that."""
        (network,) = array_networks("refiner", self.refiner.best_weights, self.precision)
        refiner = FaceRefiner(network, self.hp)
        each, refined_dubs = [], []
        for redrawn, dubbed in Progress(self.dubs, "evaluation", unit="clip", leave=False):
            clip, frames = redrawn.clip, range(len(redrawn.faces))
            own, size, sharp_size = self.windows.banks[clip.folder], self.hp.img_size, self.hp.refiner_size
            bank, excluded = self.person or own.pictures(), own.excluded(clip, frames)
            true = np.stack([sharp_face(clip, row, sharp_size) for row in frames])  # uint8 BGR [N, S, S, 3]
            refined, of_dub = (refiner(dub.faces, true, bank, excluded) for dub in (redrawn, dubbed))
            each.append({"mouth_l1": mouth_likeness(refined, true)["mouth_l1"], **detail_scores(refined, true)})
            refined_dubs.append(replace(dubbed, faces=np.stack([resized(face, size, size) for face in of_dub])))
            if clip is self.scored_clips[0]:
                some = np.linspace(0, len(true) - 1, SAMPLES).astype(int)
                generated = redrawn.faces[some]
                nearest = bank.nearest(describe(true[some], generated), 1, excluded[some])[:, 0]
                enlarged = np.stack([resized(face, sharp_size, sharp_size) for face in generated])
                rows = {"generated": enlarged, "reference": nearest, "refined": refined[some], "true": true[some]}
                self.show_samples(step, rows, tensorboard)
        scores = {name: float(np.mean([values[name] for values in each])) for name in each[0]}
        generated = generators.sync_numbers(self.expert, [dubbed for _, dubbed in self.dubs])
        scores |= generators.sync_numbers(self.expert, refined_dubs)
        return scores | ({"sync_generated": generated["sync_distance"]} if generated else {})

    def on_best(self, weights: dict) -> None:
        path, state = self.folder / PERSON, weights["state_dict"]
        save_refiner(path, state, self.hp, self.person, self.generator_fingerprint)

    def conclusion(self) -> list[str]:
        lines, path = super().conclusion(), self.folder / PERSON
        if not path.exists():
            return [f"{path} was not written: dub without a refiner, or train longer", *lines]
        to_dub = command(
            "inference.py", checkpoint_path=self.generator_path, refine=path, face="talk.mp4", audio="speech.wav",
            outfile="out.mp4",
        )  # fmt: skip
        return [f"{path}: the refiner with pictures of the person", *lines, "to dub with it:", to_dub]

    def exit_code(self) -> int:
        return 1 if self.history.best()["step"] == 0 or not (self.folder / PERSON).exists() else 0
