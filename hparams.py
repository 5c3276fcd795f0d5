"""Every number of the method, with its unit and its source.

    from hparams import hparams
    hparams.hop_size                          # 200
    hparams.override("batch_size=8,width=0.5")  # a changed copy

Names and values follow Prajwal et al., "A Lip Sync Expert Is All You Need for Speech to Lip Generation In The Wild",
ACM MM 2020, and the code published with it. Every script takes `--hparams name=value,...`; the values a network was
trained with are saved in its checkpoints.
"""

import os
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from utils.errors import InputError
from utils.options import parse_scalar


@dataclass(frozen=True)
class HParams:
    # Speech
    sample_rate: int = 16000  # samples a second
    n_fft: int = 800  # samples
    win_size: int = 800  # samples (50 ms)
    hop_size: int = 200  # samples (12.5 ms)
    num_mels: int = 80
    fmin: int = 55  # Hz
    fmax: int = 7600  # Hz
    preemphasis: float = 0.97
    ref_level_db: int = 20  # dB taken off, so that loud speech comes to lie near 0 dB
    min_level_db: int = -100  # dB that becomes -max_abs_value
    max_abs_value: float = 4.0  # the normalised mel lies in -max_abs_value..max_abs_value

    # Pictures
    img_size: int = 96  # pixels, both sides of the face that the networks see
    fps: int = 25  # frames a second in training
    window_frames: int = 5  # frames in one training window
    mel_window: int = 16  # mel columns in one window (0.2 s)
    width: float = 1.0  # factor on every channel count; 1.0 is the published size

    # Both trainings
    seed: int = 0
    num_workers: int = min(4, os.cpu_count() or 1)  # loader processes
    nepochs: int = 200_000_000  # in effect: until it is stopped
    eval_windows: int = 512  # at most so many windows in one evaluation
    save_optimizer_state: bool = True
    augment: bool = True  # training pictures mirrored, moved, in other light and colour
    accumulate: int = 1  # batches that one step is split into, for little memory
    clip_norm: float = 0.0  # gradients are scaled down to this norm; 0 for never
    warmup_steps: int = 0  # steps over which the learning rate rises to its full value
    cosine_lr: bool = False  # the learning rate falls to zero along a cosine, at --max_steps
    compile: bool = False  # torch.compile; for GPUs, on CPUs it is slower
    sync_batch_norm: bool = False  # batch norms over the windows of all processes; slower

    # Generator training
    batch_size: int = 16  # windows in one step, over all processes
    initial_learning_rate: float = 1e-4
    checkpoint_interval: int = 3000  # steps
    eval_interval: int = 3000  # steps
    ema: float = 0.0  # decay of a moving average of the weights a step, such as 0.999; 0 for none
    syncnet_wt: float = 0.0  # sync weight from the first step; 0 waits for sync_on_below
    sync_on_below: float = 0.75  # evaluation sync loss that switches the sync weight on
    sync_on_wt: float = 0.01  # the weight it is then given
    sync_on_wt_gan: float = 0.03  # the same with --gan
    disc_wt: float = 0.07
    disc_initial_learning_rate: float = 1e-4

    # Lip-sync expert training
    syncnet_batch_size: int = 64  # windows in one step, over all processes
    syncnet_lr: float = 1e-4
    syncnet_ema: float = 0.998  # see ema
    syncnet_all_pairs: bool = False  # every sound of a batch is off-sync for every other face; for one speaker's clips
    syncnet_eval_interval: int = 10000  # steps
    syncnet_checkpoint_interval: int = 10000  # steps

    # Refiner training
    refiner_size: int = 256  # pixels, both sides of a refined face: 192, 256, 384 or 512
    refiner_width: float = 1.0  # factor on its channel counts
    refiner_references: int = 4  # sharp crops that a frame is refined with
    refiner_bank: int = 384  # sharp crops that are kept of a person, or with --bank clip of each clip
    refiner_batch_size: int = 8  # frames in one step, over all processes
    refiner_lr: float = 1.5e-3
    refiner_ema: float = 0.99  # see ema
    refiner_gradient_wt: float = 1.0  # of the pictures' gradients, against L1
    refiner_texture_wt: float = 0.5  # of the amount of texture, against L1
    refiner_eval_interval: int = 250  # steps
    refiner_checkpoint_interval: int = 250  # steps

    @property
    def mel_columns_per_second(self) -> float:
        return self.sample_rate / self.hop_size

    def override(self, text: str | None) -> "HParams":
        """A copy with `name=value,...` applied. Unknown names and values of the wrong type raise InputError."""
        types: dict[str, Any] = {field.name: field.type for field in fields(self)}
        changes = {}
        for item in filter(None, (part.strip() for part in (text or "").split(","))):
            name, equals, value = (part.strip() for part in item.partition("="))
            if not equals or name not in types:
                known = ", ".join(sorted(types))
                raise InputError(f"--hparams {item}: write name=value with one of these names: {known}")
            changes[name] = parse_scalar(types[name], value, f"--hparams {name}")
        return replace(self, **changes)._checked()

    def _checked(self) -> "HParams":
        may_be_zero = {
            "seed", "num_workers", "save_optimizer_state", "augment", "clip_norm", "warmup_steps", "cosine_lr",
            "compile", "syncnet_all_pairs",
            "sync_batch_norm", "ema", "syncnet_ema", "syncnet_wt", "disc_wt", "preemphasis", "fmin",
            "refiner_ema", "refiner_gradient_wt", "refiner_texture_wt",
        }  # fmt: skip
        for name, value in asdict(self).items():
            if name != "min_level_db" and (value < 0 or (value == 0 and name not in may_be_zero)):
                raise InputError(f"--hparams {name}={value}: give a number above zero")
        if self.refiner_size not in REFINER_SIZES:
            sizes = ", ".join(map(str, REFINER_SIZES))
            raise InputError(f"--hparams refiner_size={self.refiner_size}: choose from {sizes}")
        return self

    @classmethod
    def from_dict(cls, saved: dict | None) -> "HParams":
        """The values saved in a checkpoint; names that this version does not know are left out.

        Raises InputError for values of the wrong type.
        """
        types: dict[str, Any] = {field.name: field.type for field in fields(cls)}
        values = {
            name: parse_scalar(types[name], str(value), f"saved hparams {name}")
            for name, value in (saved or {}).items()
            if name in types
        }
        return cls(**values)._checked()

    def of_network(self) -> "HParams":
        """The published values, but those that describe the network and its inputs taken from here: what a training
        inherits from weights that it starts from."""
        return replace(HParams(), **{name: getattr(self, name) for name in NETWORK_NAMES})

    def to_dict(self) -> dict:
        return asdict(self)


MEL_NAMES = (
    "sample_rate", "n_fft", "win_size", "hop_size", "num_mels", "fmin", "fmax", "preemphasis", "ref_level_db",
    "min_level_db", "max_abs_value",
)  # fmt: skip
NETWORK_NAMES = (
    *MEL_NAMES, "img_size", "fps", "window_frames", "mel_window", "width",
    "refiner_size", "refiner_width", "refiner_references",
)  # fmt: skip

REFINER_SIZES = (192, 256, 384, 512)

hparams = HParams()
