"""Every number of the method, with its unit and its source.

    from hparams import hparams
    hparams.hop_size                          # 200
    hparams.override("batch_size=8,width=0.5")  # a changed copy

Names and values follow Prajwal et al., "A Lip Sync Expert Is All You Need for Speech to Lip Generation In The Wild",
ACM MM 2020, and the code published with it. Every script takes `--hparams name=value,...`; the values a network was
trained with are saved in its checkpoints.
"""

import os
import sys
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

from utils.errors import InputError, did_you_mean
from utils.settings import parse_scalar


def may_be_zero(default: Any) -> Any:
    """A value that 0 is allowed for; all other numbers must lie above it."""
    return field(default=default, metadata={"least": 0})


def one_of(default: Any, *others: Any) -> Any:
    """A value for which there are these choices."""
    return field(default=default, metadata={"choices": (default, *others)})


def network_value(default: Any, **metadata: Any) -> Any:
    """A value that describes the network or what it is given: it stays with the weights, whatever trains them next."""
    return field(default=default, metadata={"network": True, **metadata})


@dataclass(frozen=True)
class HParams:
    # Speech
    sample_rate: int = network_value(16000, most=192_000)  # samples a second
    n_fft: int = network_value(800)  # samples
    win_size: int = network_value(800)  # samples (50 ms)
    hop_size: int = network_value(200)  # samples (12.5 ms)
    num_mels: int = network_value(80)
    fmin: int = network_value(55, least=0)  # Hz
    fmax: int = network_value(7600)  # Hz
    preemphasis: float = network_value(0.97, least=0, most=1)
    ref_level_db: int = network_value(20, most=200)  # dB taken off, so that loud speech comes to lie near 0 dB
    min_level_db: int = network_value(-100, least=-300, most=-1)  # dB that becomes -max_abs_value
    max_abs_value: float = network_value(4.0, most=100)  # the normalised mel lies in -max_abs_value..max_abs_value

    # Pictures
    img_size: int = network_value(96)  # pixels, both sides of the face that the networks see
    fps: int = network_value(25, most=240)  # frames a second in training
    window_frames: int = network_value(5, most=100)  # frames in one training window
    mel_window: int = network_value(16)  # mel columns in one window (0.2 s)
    width: float = network_value(1.0, most=8)  # factor on every channel count; 1.0 is the published size

    # All trainings
    seed: int = may_be_zero(0)
    num_workers: int = may_be_zero(min(4, os.cpu_count() or 1))  # loader processes
    nepochs: int = 200_000_000  # in effect: until it is stopped
    max_steps: int = may_be_zero(0)  # steps, after which a run ends; 0: after nepochs
    patience: int = may_be_zero(0)  # evaluations without a better one, after which a run ends; 0 for never
    eval_windows: int = 512  # at most so many windows in one evaluation
    eval_early: bool = False  # evaluate at an eighth, a quarter and half of the first interval, too
    save_optimizer_state: bool = True
    accumulate: int = 1  # batches that one step is split into, for little memory
    clip_norm: float = may_be_zero(0.0)  # gradients are scaled down to this norm; 0 for never
    warmup_steps: int = may_be_zero(0)  # steps over which the learning rate rises to its full value
    cosine_lr: bool = False  # the learning rate falls to zero along a cosine, at the last step
    freeze_batch_norm: bool = False  # batch norms keep the statistics that the run starts with
    sync_batch_norm: bool = False  # batch norms over the windows of all processes; slower

    # What is drawn, and how it is changed (data/sampling.py, data/augment.py)
    sampling: str = one_of("windows", "people")  # windows once an epoch, or people (a group's first folder) evenly
    people_weights: str = ""  # with sampling=people how much each counts, such as "anna:1.6 ben:0.5"; else 1
    augment: bool = True  # training pictures mirrored, moved, in other light and colour
    augment_shape: float = may_be_zero(0.0)  # strength of other face shapes and poses; 0: moved by some pixels alone
    augment_colour: float = may_be_zero(0.0)  # strength of other light, colour, softness; 0: a little alone
    augment_sound: float = may_be_zero(0.0)  # strength of other voices and microphones; 0 for none

    # Generator training
    batch_size: int = 16  # windows in one step, over all processes
    single_frames: int = may_be_zero(0)  # frames in one step besides
    frames_first: float = may_be_zero(0.0)  # the first steps, below 1 that share of the run, have no windows but frames
    other_mouth: float = may_be_zero(0.0)  # share for which, of four references, the one with the other mouth is taken
    initial_learning_rate: float = 1e-4
    checkpoint_interval: int = 3000  # steps
    eval_interval: int = 3000  # steps
    ema: float = may_be_zero(0.0)  # decay of a moving average of the weights a step, such as 0.999; 0 for none
    mouth_wt: float = 1.0  # of the mouth in the picture loss, against the rest of the face
    gradient_wt: float = may_be_zero(0.0)  # of the L1 of the picture's gradients, against the L1 of the picture
    syncnet_wt: float = may_be_zero(0.0)  # sync weight from the first step with windows; 0 waits for sync_on_below
    sync_on_below: float = 0.75  # evaluation sync loss that switches the sync weight on
    sync_on_wt: float = 0.01  # the weight it is then given
    sync_on_wt_gan: float = 0.03  # the same with --gan
    sync_if_known: bool = False  # no sync loss by an expert that does not find the held-out clips in sync
    best_by: str = one_of("loss", "mouth")  # the best weights: by the losses, or by mouths as they are dubbed
    sync_face_wt: float = may_be_zero(0.0)  # in the sync loss, of 1 - cosine(generated face, true face)

    # With --gan: the published discriminator, or a small one of patches (models/discriminators.py)
    disc: str = one_of("published", "patch")
    disc_wt: float = may_be_zero(0.07)  # published: the adversarial loss's weight
    disc_initial_learning_rate: float = 1e-4
    disc_share: float = 0.3  # patch: its gradient at the generator's last layer, as a part of the picture loss's
    disc_features_wt: float = may_be_zero(2.0)  # patch: of the difference of its features, against its loss
    disc_r1: float = may_be_zero(1e-5)  # patch: gradient penalty on real pictures; with 0.01 it learns nothing
    disc_alone: int = may_be_zero(0)  # patch: steps, the first ones, in which the generator is not trained against it

    # Lip-sync expert training
    syncnet_batch_size: int = 64  # windows in one step, over all processes
    syncnet_lr: float = 1e-4
    syncnet_weight_decay: float = may_be_zero(0.0)
    syncnet_ema: float = may_be_zero(0.998)  # see ema
    syncnet_pairs: str = one_of("random", "clip")  # one sound a face, or all sounds of the clip's windows in the batch
    syncnet_clip_windows: int = 8  # clip: windows of each clip in a batch
    syncnet_softmax_wt: float = may_be_zero(0.2)  # clip: of the cross-entropy over a face's sounds, against the BCE
    syncnet_eval_interval: int = 10000  # steps
    syncnet_checkpoint_interval: int = 10000  # steps

    @property
    def mel_columns_per_second(self) -> float:
        return self.sample_rate / self.hop_size

    def override(self, text: str | None) -> "HParams":
        """A copy with `name=value,...` applied. Unknown names and values of the wrong type raise InputError."""
        types, changes = HParams.__annotations__, {}
        for item in filter(None, (part.strip() for part in (text or "").split(","))):
            name, equals, value = (part.strip() for part in item.partition("="))
            if name not in types:
                advice = did_you_mean(name, types, "hparams.py lists all")
                raise InputError(f"--hparams {item}: no such value, {advice}")
            if not equals:
                raise InputError(f"--hparams {item}: write {name}=VALUE")
            changes[name] = parse_scalar(types[name], value, f"--hparams {name}=")
        return replace(self, **changes)._checked("--hparams")

    def _checked(self, given_by: str) -> "HParams":
        for value_of in fields(self):
            name, value, rules = value_of.name, getattr(self, value_of.name), value_of.metadata
            choices = rules.get("choices")
            if choices and value not in choices:
                given = ", ".join(map(str, choices))
                raise InputError(f"{given_by} {name}={value}: choose from {given}")
            if isinstance(value, str | bool):
                continue
            least, most = rules.get("least"), rules.get("most", sys.float_info.max)
            if not (value > 0 if least is None else value >= least):  # nor is NaN
                wanted = "above zero" if least is None else f"of at least {least}"
                raise InputError(f"{given_by} {name}={value}: give a number {wanted}")
            if value > most:
                raise InputError(f"{given_by} {name}={value}: give at most {most:g}")
        for lower, upper, most in (
            ("hop_size", "win_size", self.win_size),
            ("win_size", "n_fft", self.n_fft),
            ("n_fft", "mel_window times hop_size", self.mel_window * self.hop_size),  # the shortest speech
            ("fmin", "fmax", self.fmax),
            ("fmax", "half of sample_rate", self.sample_rate / 2),
        ):
            if getattr(self, lower) > most:
                raise InputError(f"{given_by} {lower}={getattr(self, lower)}: is more than {upper} ({most:g})")
        return self

    @classmethod
    def from_dict(cls, saved: dict | None) -> "HParams":
        """The values saved in a checkpoint; names that this version does not know are left out. Raises InputError for
        values of the wrong type."""
        types = cls.__annotations__
        known = {name: str(value) for name, value in (saved or {}).items() if name in types}
        values = {name: parse_scalar(types[name], text, f"saved hparams {name}=") for name, text in known.items()}
        return cls(**values)._checked("saved hparams")

    def of_network(self) -> "HParams":
        """The published values with network_values: what a training inherits from weights that it starts from."""
        return replace(HParams(), **self.network_values())

    def network_values(self) -> dict[str, Any]:
        """The values that describe the network and its inputs."""
        names = [value_of.name for value_of in fields(self) if "network" in value_of.metadata]
        return {name: getattr(self, name) for name in names}

    def to_dict(self) -> dict:
        return asdict(self)


MEL_NAMES = (
    "sample_rate", "n_fft", "win_size", "hop_size", "num_mels", "fmin", "fmax", "preemphasis", "ref_level_db",
    "min_level_db", "max_abs_value",
)  # fmt: skip

hparams = HParams()
