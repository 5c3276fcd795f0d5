"""Train a generator of one person from a folder of videos, and make dubs to compare.

    python finetune.py --videos my_videos
    python finetune.py --videos my_videos --face talk.mp4 --audio speech.wav    # dub these at the end
    python finetune.py --videos my_videos --minutes 60                          # the same command resumes

Preprocessing, finetune and dub are those of the other scripts; each has a folder in --outdir, and finished stages are
skipped. If no evaluation of the finetune is better than its start, the start's weights are kept. At the end open
index.html in --outdir: source, dub before and dub after side by side, scores, and the command to dub with. Exit code 1:
some videos could not be used, or no evaluation was better than the start.
"""

import argparse
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from itertools import count
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any

from dubbing import Options as DubbingOptions
from models.published import ensure_weights
from preprocessing import PreprocessingOptions
from training import GeneratorOptions
from utils import cli
from utils.errors import InputError
from utils.files import exclusive_lock, read_json, sha256, write_json
from utils.settings import CommonOptions, from_args, option, stream_option

if TYPE_CHECKING:
    from demo.comparison import Stage

NOTE = "stage.json"  # in the folder of a stage: what it is made from, how long it took, what came of it


@dataclass(frozen=True, kw_only=True)
class FinetuneOptions(CommonOptions):
    """What to learn from, for how long, and what to dub with it."""

    videos: Path = option("folder of videos of one person, flat or nested", common=True)
    outdir: Path = option("folder for everything", Path("finetuned"), common=True)
    face: Path | None = option("video to dub at the end, with --audio (default: a held-out one)", None, common=True)
    audio: Path | None = option("speech to dub it with (default: that of another video)", None, common=True)
    audio_stream: int | None = stream_option("audio track of the videos")
    video_stream: int | None = stream_option("video track of the files")
    minutes: float = option("training time", 30.0, unit="minutes", minimum=0.01, common=True)
    seconds: float = option("length of the comparison", 10.0, unit="seconds", minimum=0.1)
    checkpoint_path: Path | None = option("generator to start from (default: the best installed)", None, weights=True)
    syncnet_checkpoint_path: Path | None = option("lip-sync expert (default: the best installed)", None, weights=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        if (self.face is None) != (self.audio is None):
            raise InputError("--face and --audio: give both, or neither")
        if not self.videos.is_dir():
            raise InputError(f"--videos {self.videos}: no such folder")
        for flag, path in (("--face", self.face), ("--audio", self.audio)):
            if path and not path.is_file():  # noticed now, not after an hour
                raise InputError(f"{flag} {path}: no such file")
        if self.outdir.resolve().is_relative_to(self.videos.resolve()):
            raise InputError(f"--outdir {self.outdir}: lies in --videos, whose videos are learnt from; give another")


def main(args: argparse.Namespace) -> int:
    options = ensure_weights(from_args(FinetuneOptions, args), args.yes)
    with exclusive_lock(options.outdir, "--outdir"):
        return finetune_and_compare(options)


def finetune_and_compare(options: FinetuneOptions) -> int:
    """All stages, one after the other; returns the exit code."""
    from demo import comparison
    from models.published import default_expert, default_generator
    from preprocessing.run import preprocess, summarize_footage
    from training.checkpoint import BEST
    from training.loop import EVALUATION_SHARE

    outdir = options.outdir
    start = options.checkpoint_path or default_generator()
    expert = options.syncnet_checkpoint_path or default_expert()
    given: dict[str, Any] = {
        "hparams": options.hparams, "device": options.device, "filelists_dir": outdir / "filelists",
    }  # fmt: skip
    clips = PreprocessingOptions(
        data_root=options.videos, preprocessed_root=outdir / "preprocessed", audio_stream=options.audio_stream,
        video_stream=options.video_stream, syncnet_checkpoint_path=options.syncnet_checkpoint_path, **given,
    )  # fmt: skip
    given |= {"data_root": clips.preprocessed_root, "checkpoint_dir": outdir, "syncnet_checkpoint_path": expert}

    print(
        f"training: {options.minutes:g} minutes, with evaluations at most "
        f"{options.minutes / (1 - EVALUATION_SHARE):.0f}; preprocessing and the dubs come besides"
    )
    print("== preprocessing", flush=True)
    skipped = preprocess(clips)
    found = summarize_footage(clips)
    made_from: dict[str, Any] = {
        "clips": found.digest, "expert": sha256(expert), "start": sha256(start), "hparams": options.hparams,
    }  # fmt: skip

    finetune = GeneratorOptions(
        preset="finetune", max_minutes=options.minutes, checkpoint_path=start, reset_optimizer=True, **given
    )
    generator = run_stage(outdir / "generator", made_from, options.minutes, partial(learn, finetune))
    print(f"generator: {generator.result['verdict']}", flush=True)
    weights = generator.folder / BEST if generator.result["better"] else start

    face, speech = options.face or found.face, options.audio or found.speech
    before = DubbingOptions(
        checkpoint_path=start, preview=options.seconds, device=options.device,
        audio_stream=None if options.audio else options.audio_stream,  # of one of the videos
        video_stream=None if options.face else options.video_stream,
    )  # fmt: skip
    after = replace(before, checkpoint_path=weights, mouths_from=options.videos)
    made_from |= {"generator": sha256(weights), "seconds": options.seconds, "files": [str(face), str(speech)]}
    dubs = {"before": before, "after": after} | ({"whole": replace(after, preview=None)} if options.face else {})
    compared = run_stage(outdir / "dubs", made_from, 0, partial(dub, face, speech, options.device, dubs))

    result = comparison.Result(found, options.videos, weights, generator, compared)
    page = comparison.write_page(outdir, result)
    print("\n".join(["", *result.summary(), f"open {page} in a browser; to dub with it:", result.command()]))
    return 1 if skipped or not result.better else 0


def run_stage(first: Path, inputs: dict[str, Any], minutes: float, work: Callable[[Path], dict[str, Any]]) -> "Stage":
    """Do the work in a folder of its own, unless it is finished there.

    inputs: all that the result depends on: with others the work starts again, in the folder first_2, and so on.
    minutes: how far the work goes: with more it resumes. work: folder -> result; an interrupted one is called again.
    """
    from demo.comparison import Stage

    for number in count(1):
        folder = first if number == 1 else first.with_name(f"{first.name}_{number}")
        path = folder / NOTE
        note: dict[str, Any] = {"inputs": inputs, "seconds": 0.0}
        if path.exists():
            note = read_json(path, f"delete the folder {folder} to do it again")
        if note["inputs"] == inputs:
            break
    print(f"\n== {first.name}: {folder}", flush=True)
    if "result" in note and minutes <= note.get("minutes", 0.0):
        print("finished before", flush=True)
        return Stage(folder, note["seconds"], note["result"])
    folder.mkdir(parents=True, exist_ok=True)
    write_json(path, note)
    since, before = monotonic(), note["seconds"]
    try:
        note |= {"result": work(folder), "minutes": minutes}
    finally:
        note["seconds"] = before + monotonic() - since
        write_json(path, note)
    return Stage(folder, note["seconds"], note["result"])


def learn(options: GeneratorOptions, folder: Path) -> dict:
    """Train in the folder, from where a run there has come to; returns what its summary says."""
    from training import checkpoint, history
    from training.generator import GeneratorTraining
    from training.loop import Loop

    with checkpoint.locked(folder, "--outdir"):
        loop = Loop(GeneratorTraining(replace(options, checkpoint_dir=folder)))
        if not loop.finished:
            loop.run()
    return read_json(folder / history.JSON)


def dub(face: Path, speech: Path, device: str, dubs: dict[str, DubbingOptions], folder: Path) -> dict:
    """Dubs by name into the folder, and a video of those before and after beside the source."""
    from demo import comparison
    from dubbing import Dubber
    from face_detection import build_detector
    from utils.devices import pick_device

    dubber = None
    for name, options in dubs.items():
        dubber = Dubber(options, dubber.networks if dubber else None)
        dubber.dub(face, speech, folder / f"{name}.mp4")
    comparison.compare(face, folder, build_detector("auto", str(pick_device(device))))
    return {}


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    return cli.parser_for(__doc__, FinetuneOptions).parse_args(argv)


if __name__ == "__main__":
    cli.run(main, parse_args)
