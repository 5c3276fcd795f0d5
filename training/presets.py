"""Whole sets of hparams by name: --preset."""

from typing import NamedTuple

from hparams import hparams


class Preset(NamedTuple):
    purpose: str
    values: dict[str, str]

    def text(self) -> str:
        """As --hparams takes them."""
        return ",".join(f"{name}={value}" for name, value in self.values.items())


# What both sets of our own have in common; figures in docs/training.md
_OWN = {
    "single_frames": "34", "batch_size": "6", "other_mouth": "0.5", "mouth_wt": "6", "gradient_wt": "0.5",
    "syncnet_wt": "0.03", "sync_face_wt": "1", "clip_norm": "1", "ema": "0.997", "cosine_lr": "True",
    "disc": "patch", "disc_initial_learning_rate": "1e-3", "sampling": "people", "best_by": "mouth",
    "sync_if_known": "True",
}  # fmt: skip
STRANGERS = _OWN | {
    "frames_first": "0.6667", "max_steps": "6000", "initial_learning_rate": "4e-4", "warmup_steps": "100",
    "augment_shape": "1", "augment_colour": "1", "augment_sound": "1", "disc_alone": "250",
    "eval_interval": "500", "checkpoint_interval": "500",
    "syncnet_pairs": "clip", "syncnet_batch_size": "80", "syncnet_lr": "3e-4", "syncnet_weight_decay": "0.01",
    "syncnet_eval_interval": "500", "syncnet_checkpoint_interval": "500",
}  # fmt: skip
FINETUNE = _OWN | {
    "freeze_batch_norm": "True", "batch_size": "2", "single_frames": "22", "frames_first": "0.3333", "max_steps": "300",
    "initial_learning_rate": "1.5e-4", "warmup_steps": "10", "ema": "0.98", "augment_shape": "0.4",
    "augment_colour": "0.3", "augment_sound": "0.5", "eval_interval": "400", "eval_early": "True",
    "checkpoint_interval": "100", "patience": "3",
}  # fmt: skip
_TOUCHED = dict.fromkeys([*STRANGERS, *FINETUNE])

PRESETS = {
    "published": Preset(
        "losses and learning rates of the published code", {name: str(getattr(hparams, name)) for name in _TOUCHED}
    ),
    "strangers": Preset("weights for people whom no training saw, from clips of many people", STRANGERS),
    "finetune": Preset("five or more videos of one person, from weights that are there", FINETUNE),
}
