"""Training of the refiner on a generator's own faces: from those, the frames' upper halves and sharp crops of the same
person to the true faces at the footage's resolution."""

from dataclasses import replace
from functools import cached_property
from math import ceil
from pathlib import Path

import numpy as np
import torch
from torch.utils.tensorboard import SummaryWriter

from data.clip import Clip
from data.sharp_faces import ClipBank, SharpFaces, sharp_face
from face_detection.crop import resized
from hparams import HParams
from metrics import generators
from metrics.experts import Expert
from metrics.generators import ClipDub, ClipDubber
from metrics.similarity import detail_scores, mouth_area, mouth_likeness
from models import SyncNet_color, Wav2Lip, torch_backend
from models.checkpoint import build_network, hparams_of, load_network, save_refiner
from models.face_refiner import PERSON, FaceRefiner
from models.inputs import lower_half, to_floats
from models.published import default_expert, default_generator
from models.reference_bank import ReferenceBank, describe, without_bank
from models.refiner import Refiner, enlarge
from training import checkpoint, log, losses, summary, verdict
from training.base import Batch, Training
from training.network import TrainableNetwork
from training.options import RefinerOptions
from utils import weight_files
from utils.cli import command
from utils.errors import InputError
from utils.progress import Progress

RECIPE = "warmup_steps=50,cosine_lr=True,clip_norm=0.1"  # hparams of a new run, unless --hparams says otherwise
OUTSIDE_WEIGHT, MOUTH_WEIGHT = 0.2, 2.0  # of the loss, outside the mouth's area, and inside besides
SCORED_CLIPS, SAMPLES = 4, 6
SAMPLE_ROWS = ("generated", "reference", "refined", "true")


class RefinerTraining(Training):
    """The refiner learns to restore the true face from the generated one; the generator stays as it is."""

    network_name = "refiner"
    prefix = "refiner_"
    rate_names = ("refiner_lr",)
    windows_class = SharpFaces
    options: RefinerOptions
    windows: SharpFaces

    def __init__(self, options: RefinerOptions) -> None:
        recorded = checkpoint.read_record(options.checkpoint_dir).get("generator_path")
        path = self.generator_path = options.generator_path or (Path(recorded) if recorded else default_generator())
        self.generator_content = weight_files.read(path)
        generator, _ = build_network(Wav2Lip, self.generator_content, path)
        expert, expert_hp = load_network(options.syncnet_checkpoint_path or default_expert(), SyncNet_color)
        self.generator_fingerprint = weight_files.fingerprint(self.generator_content["state_dict"])
        super().__init__(options)
        self.record["generator_path"] = str(path.resolve())
        hp, precision = self.hp, self.precision
        print(f"refines faces of {path} at {hp.refiner_size} pixels", flush=True)
        (self.generator,) = torch_backend.wrap("generator", generator.requires_grad_(False), precision)
        self.dubber = ClipDubber(self.generator.network, hp, precision)
        self.expert = Expert(torch_backend.array_networks("expert", expert, precision), expert_hp, "expert")
        network = Refiner(hp.refiner_size, hp.refiner_width)
        self.refiner = TrainableNetwork(network, hp, precision, hp.refiner_lr, ema=hp.refiner_ema)
        self.refiner.restore(_without_bank(self.content), self.start, self.weights_only)
        self.networks = {"": self.refiner}
        weight = OUTSIDE_WEIGHT + MOUTH_WEIGHT * lower_half(mouth_area(hp.refiner_size))
        self.weight = torch.from_numpy(weight).to(self.device)
        self._give_banks(options.bank)

    def run_identity(self) -> dict[str, str]:
        return {"generator": self.generator_fingerprint, "bank": self.options.bank}

    def make_hparams(self) -> HParams:
        """As in every training; what describes the generator and its inputs is the generator's."""
        recipe = "" if self.resumed else f"{RECIPE},"
        hp = hparams_of(self.content, f"{recipe}{self.options.hparams_overrides}", of_network=self.weights_only)
        of_generator = hparams_of(self.generator_content).network_values()
        return replace(hp, **{name: value for name, value in of_generator.items() if not name.startswith("refiner_")})

    def objective(self, scores: dict[str, float]) -> float:
        """Distance in gradients, and by how much lip-sync is worse than the generator's, where the expert can tell."""
        if "sync_generated" not in scores or not verdict.expert_is_reliable(self.footage_scores):
            return scores["gradient_distance"]
        return scores["gradient_distance"] + max(0.0, scores["sync_distance"] - scores["sync_generated"])

    def better(self, start: dict[str, float], scores: dict[str, float]) -> bool:
        return verdict.compare_scores(start, scores, self.footage_scores)[0]

    def train_on(self, step: int, batch: Batch) -> dict[str, torch.Tensor]:
        generated = self._generate(batch)
        target = to_floats(batch["target"])
        refined = self.refiner(to_floats(generated), target, to_floats(batch["references"]))
        values = losses.refined_losses(lower_half(refined), lower_half(target), self.weight)
        weights = {"gradient": self.hp.refiner_gradient_wt, "texture": self.hp.refiner_texture_wt}
        self.refiner.backward(values["l1"] + sum(weight * values[name] for name, weight in weights.items()))
        return {name: value.detach() for name, value in values.items()}

    @torch.no_grad()
    def _generate(self, batch: Batch) -> torch.Tensor:
        """The batch's faces generated, as in a dub uint8 [B, 96, 96, 3]."""
        with self.precision.autocast():
            return self.generator(batch["frame"], batch["mel"], batch["reference"])

    def _give_banks(self, kind: str) -> None:
        """Give the windows their reference banks, and choose the clips to be scored. Clips with a frame that has no
        reference, as all are neighbours of it, are left out."""
        hp, clips = self.hp, [*self.windows.clips, *self.eval_windows.clips]
        if kind == "person":
            banks = dict.fromkeys((clip.folder for clip in clips), ClipBank(self.windows.clips, hp))
        else:
            by_folder = {clip.folder: clip for clip in clips}
            listed = Progress(by_folder.items(), "references", unit="clip", leave=False)
            banks = {folder: ClipBank([clip], hp) for folder, clip in listed}
        served, scored = (
            [clip for clip in windows.clips if banks[clip.folder].serves(clip)]
            for windows in (self.windows, self.eval_windows)
        )
        if not (served and scored):
            raise InputError(f"--bank {kind}: the clips are too short to have references of their own; add longer ones")
        self.windows = SharpFaces(served, hp, True, banks)
        self.eval_windows = SharpFaces([], hp)  # whole clips are scored
        self.scored_clips = generators.evenly_spaced(scored, SCORED_CLIPS)

    @cached_property
    def person(self) -> ReferenceBank | None:
        """The person's bank, which is saved with the weights."""
        return next(iter(self.windows.banks.values())).pictures() if self.options.bank == "person" else None

    @cached_property
    def redrawn(self) -> list[ClipDub]:
        """The clips generated to their own speech."""
        return [self.dubber.redraw(clip) for clip in self.scored_clips]

    @cached_property
    def dubbed(self) -> list[ClipDub]:
        """The clips generated to the speech of another."""
        return [self.dubber.dub(clip, speech) for clip, speech in generators.speech_pairs(self.scored_clips)]

    @cached_property
    def footage_scores(self) -> dict[str, float]:
        return generators.footage_scores(self.expert, self.scored_clips)

    @torch.no_grad()
    def evaluate(self, step: int, batches: list[Batch], tensorboard: SummaryWriter) -> dict[str, float]:
        """detail_scores over the clips, each generated to its own speech and refined; the sync of the clips dubbed with
        another's speech, refined, and as sync_generated the distance before that."""
        each, refined_dubs = [], []
        pairs = list(zip(self.redrawn, self.dubbed, strict=True))
        for redrawn, dubbed in Progress(pairs, "evaluation", unit="clip", leave=False):
            true = self._true_faces(redrawn)
            refined, of_dub = (self._refined(dub, true) for dub in (redrawn, dubbed))
            each.append({"mouth_l1": mouth_likeness(refined, true)["mouth_l1"], **detail_scores(refined, true)})
            refined_dubs.append(replace(dubbed, faces=np.stack([self._small(face) for face in of_dub])))
            if redrawn.clip is self.scored_clips[0]:
                self._show(step, tensorboard, redrawn, refined, true)
        scores = {name: float(np.mean([values[name] for values in each])) for name in each[0]}
        generated = generators.sync_numbers(self.expert, self.dubbed)
        scores |= generators.sync_numbers(self.expert, refined_dubs)
        return scores | ({"sync_generated": generated["sync_distance"]} if generated else {})

    def reduce_evaluation(self, share: float) -> None:
        self.scored_clips = generators.evenly_spaced(self.scored_clips, ceil(share * len(self.scored_clips)))

    def _true_faces(self, dub: ClipDub) -> np.ndarray:
        """The frames' own faces at the refiner's size: uint8 BGR [N, S, S, 3]."""
        return np.stack([sharp_face(dub.clip, row, self.hp.refiner_size) for row in range(len(dub.faces))])

    def _bank_for(self, clip: Clip, rows: np.ndarray) -> tuple[ReferenceBank, np.ndarray]:
        """The references for frames of a clip, and which of them each must not take: bool [N, bank]."""
        own = self.windows.banks[clip.folder]
        return self.person or own.pictures(), own.excluded(clip, rows)

    def _refined(self, dub: ClipDub, true: np.ndarray) -> np.ndarray:
        """uint8 BGR [N, S, S, 3]."""
        (network,) = torch_backend.array_networks("refiner", self.refiner.best_weights, self.precision)
        return FaceRefiner(network, self.hp)(dub.faces, true, *self._bank_for(dub.clip, np.arange(len(dub.faces))))

    def _small(self, refined: np.ndarray) -> np.ndarray:
        return resized(refined, self.hp.img_size, self.hp.img_size)

    def _show(
        self, step: int, tensorboard: SummaryWriter, redrawn: ClipDub, refined: np.ndarray, true: np.ndarray
    ) -> None:
        """Frames of a clip, row by row (SAMPLE_ROWS): enlarged, nearest reference, refined, true."""
        some = np.linspace(0, len(true) - 1, SAMPLES).astype(int)
        bank, excluded = self._bank_for(redrawn.clip, some)
        generated, refined, true = redrawn.faces[some], refined[some], true[some]
        nearest = bank.nearest(describe(true, generated), 1, excluded)[:, 0]
        small, *large = (to_floats(torch.from_numpy(faces)) for faces in (generated, nearest, refined, true))
        rows = (enlarge(small, self.hp.refiner_size), *large)
        log.show_samples(self.folder, step, dict(zip(SAMPLE_ROWS, rows, strict=True)), tensorboard)

    def on_best(self, weights: dict) -> None:
        path, state = self.folder / PERSON, weights["state_dict"]
        save_refiner(path, state, self.hp, self.person, self.generator_fingerprint)

    def write_summary(self) -> None:
        summary.write(self.folder, self.history, self.footage_scores)

    def remarks(self, step: int, scores: dict[str, float]) -> list[str]:
        return verdict.remarks(self.history.entries, self.footage_scores)

    def conclusion(self) -> list[str]:
        lines = [*super().conclusion(), *summary.conclusion(self.folder, self.history, self.footage_scores, "png")]
        path = self.folder / PERSON
        if not path.exists():
            return [f"{path} was not written: dub without a refiner, or train longer", *lines]
        to_dub = command(
            "inference.py", checkpoint_path=self.generator_path, refine=path, face="talk.mp4", audio="speech.wav",
            outfile="out.mp4",
        )  # fmt: skip
        return [f"{path}: the refiner with pictures of the person", *lines, "to dub with it:", to_dub]

    def exit_code(self) -> int:
        return 1 if self.history.best()["step"] == 0 or not (self.folder / PERSON).exists() else 0


def _without_bank(content: dict) -> dict:
    """The content of a checkpoint, or of a person's file, with the network's weights alone."""
    return {**content, "state_dict": without_bank(content["state_dict"])} if content else {}
