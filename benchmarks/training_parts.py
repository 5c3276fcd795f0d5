"""Where a step of generator training spends its time."""

import tempfile
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from time import process_time
from typing import Any

import torch

from benchmarks.footage import make_clip
from benchmarks.measuring import CPU
from benchmarks.results import Row
from benchmarks.trainings import HP
from data.dataset import GeneratorWindows, generator_inputs, window_frames
from data.loading import training_loader
from models import SyncNet_color, Wav2Lip
from training import adversaries, losses
from training.network import TrainableNetwork
from utils.devices import Precision, channels_last, keep_freed_memory

TITLE = "Where the time of a training step goes"
CONDITIONS = """
Generator training at full size, batch 4, CPU time of each part. The clocks of a busy machine vary by a tenth.
"""
BATCH, STEPS = 4, 3  # windows in one step; steps, of which the fastest counts in each part


def measure() -> list[Row]:
    torch.set_flush_denormal(True)
    keep_freed_memory(CPU)
    precision = Precision("auto", CPU)
    generator = TrainableNetwork(Wav2Lip(), HP, precision, HP.initial_learning_rate)
    expert = channels_last(SyncNet_color().eval().requires_grad_(False), CPU)
    weights = losses.mouth_weights(HP.img_size, HP.mouth_wt)
    last_layer = generator.network.get_parameter("output_block.1.weight")
    discriminators = {name: make(HP, precision) for name, make in adversaries.ADVERSARIES.items()}
    seconds: dict[str, list[float]] = defaultdict(list)

    def timed(part: str, work: Callable, *arguments: Any) -> Any:
        since = process_time()
        result = work(*arguments)
        seconds[part].append(process_time() - since)
        return result

    def sync_loss(mel: torch.Tensor, generated: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        windows = (window_frames(frames, len(mel), HP.window_frames) for frames in (generated, target))
        with precision.autocast():
            return losses.sync_loss(expert, mel, *windows, face_weight=0.0)

    with tempfile.TemporaryDirectory() as folder:
        clip = make_clip(Path(folder), HP)
        batches = iter(training_loader(GeneratorWindows([clip], HP, training=True), BATCH, 0))
        for step in range(1, STEPS + 2):
            batch = timed("data", next, batches)
            faces, target = timed("pictures to floats", generator_inputs, batch)
            generated = timed(f"generator, forward, in {precision.name}", generator, batch["mels"], faces)
            shown = generated.detach().requires_grad_()
            timed("picture loss", losses.picture_loss, shown, target, weights, 0.0)
            sync = timed("expert, forward", sync_loss, batch["mel"], shown, target)
            timed("expert, backward", sync.backward)
            for name, discriminator in discriminators.items():
                whole = losses.picture_loss(generated, target, weights, 0.0)
                timed(
                    f"discriminator ({name}), generator's term",
                    discriminator.generator_term, generated, target, whole, last_layer, step,
                )  # fmt: skip
                timed(f"discriminator ({name}), its own", discriminator.train_on, generated, target, step)
                timed(f"discriminator ({name}), optimizer", discriminator.update, step, 0.0)
            timed("generator, backward", generator.backward, whole)
            timed("optimizer", generator.update, step, 0.0)
            with torch.no_grad():
                timed("evaluation of a batch, generator", generator, batch["mels"], faces)
        del clip, batches

    return [Row(part, "ms", 1000 * min(taken[1:])) for part, taken in seconds.items()]
