"""Dub any video, or a picture, with any speech.

    python inference.py --demo                                # a bundled portrait with bundled speech
    python inference.py --face talk.mp4 --audio speech.wav    # with the best weights that are there
    python inference.py --checkpoint_path checkpoints/mine/checkpoint_step000003000.pth \\
        --face portrait.png --audio talk.mkv --outfile results/

Writes the video and, beside it, <outfile>.json: what was done. The video is read twice, once for faces and once for
dubbing, and never held in memory; it is played again from its start when the speech is longer. Frames without a face
pass through as they are.
"""

import argparse
import json
import math
import time
from collections.abc import Callable, Iterator
from itertools import islice, takewhile
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import torch
from tqdm import tqdm

import audio
import checkpoint
import cli
import weights
from cli import InputError
from devices import Precision, pick_device
from drawing import draw_mouths
from face_detection import build_detector, detect_all
from face_detection.crop import Rect, cut, pad_and_clip, to_network_size
from face_detection.track import follow_face
from hparams import HParams
from models import Wav2Lip
from source import Shape, Source
from video_writer import VideoWriter

BATCH_BYTES = 400_000_000  # frames waiting for one batch take at most this


class Speech(NamedTuple):
    mel: np.ndarray  # float32 [num_mels, columns]
    seconds: float


class Task(NamedTuple):
    """One output frame: what to show, when, where the face is (None: nowhere), which mel goes with it."""

    image: np.ndarray
    time: float
    rect: Rect | None
    mel_start: int


def load_speech(path: Path, hp: HParams) -> Speech:
    wav = audio.load_wav(path, hp.sample_rate)
    seconds, least = len(wav) / hp.sample_rate, hp.mel_window / hp.mel_columns_per_second
    if seconds < least:
        raise InputError(f"--audio {path}: lasts {seconds:.2f} s; at least {least:.1f} s of speech are needed")
    problem = audio.speech_problem(audio.frame_powers([wav], hp))
    if problem:
        raise InputError(f"--audio {path}: {problem}; give a file with speech")
    return Speech(audio.melspectrogram(wav, hp), seconds)


def find_faces(source: Source, seconds: float, args: argparse.Namespace, device) -> tuple[Callable, int]:
    """Where the face is: frame number within one play -> Rect or None, for the first `seconds`; and how many of these
    frames lie between detections."""
    if args.box:
        rect = box_inside(args.box, source)
        return (lambda number: rect), 0

    detector = build_detector(args.face_detector, str(device))
    print(f"faces by {detector.name}", flush=True)
    needed = takewhile(lambda frame: frame.time < seconds, source.once(exact=False))
    sizes = []

    def images():
        for frame in tqdm(needed, desc="faces", unit="frame", total=_frames_in(source, seconds)):
            sizes.append(frame.image.shape[:2])
            yield frame.image

    track = follow_face(list(detect_all(images(), detector, args.face_det_batch_size)), smooth=not args.nosmooth)
    rects = [pad_and_clip(box, tuple(args.pads), *size) for box, size in zip(track.boxes, sizes, strict=True)]
    rects = [rect if found and rect.usable else None for rect, found in zip(rects, track.found, strict=True)]
    if not any(rects):
        raise InputError(f"--face {args.face}: no face found in any frame; show one larger, or give its --box")
    return rects.__getitem__, int(track.bridged.sum())


def box_inside(box: list[int], source: Source) -> Rect:
    top, bottom, left, right = box
    height, width = source.first_image().shape[:2]
    if not (0 <= top < bottom <= height and 0 <= left < right <= width):
        raise InputError(f"--box {top} {bottom} {left} {right}: does not lie inside the frame of {width}x{height}")
    return Rect(left, top, right, bottom)


def tasks(source: Source, rect_at: Callable, speech: Speech, hp: HParams, published: bool) -> Iterator[Task]:
    """Output frames in order, for as long as the speech lasts."""
    columns = speech.mel.shape[1]
    for number, frame in source.endless():
        if frame.time > speech.seconds - 1e-6:
            return
        start = audio.dub_mel_start(frame.time, columns, hp, published)
        yield Task(frame.image, frame.time, rect_at(number), start)
        if published and audio.mel_column(frame.time, hp) + hp.mel_window > columns:
            return


def new_mouths(generator: Wav2Lip, batch: list[Task], mel: np.ndarray, hp: HParams, precision) -> np.ndarray:
    """Faces uint8 [B, S, S, 3] with new mouths, for tasks that have a face; each is its own reference."""
    faces = np.stack([to_network_size(cut(task.image, task.rect), hp.img_size) for task in batch])
    mels = np.stack([mel[None, :, task.mel_start : task.mel_start + hp.mel_window] for task in batch])
    return draw_mouths(generator, faces, faces, mels, precision)


def paste(image: np.ndarray, face: np.ndarray, rect: Rect) -> None:
    """Put the face back into its rectangle, as published: the whole box."""
    cut(image, rect)[:] = cv2.resize(face, (rect.x2 - rect.x1, rect.y2 - rect.y1))


def dub(
    generator, source: Source, rect_at: Callable, speech: Speech, hp: HParams, args, precision, outfile: Path
) -> list[bool]:
    """Write the dubbed video; returns for every output frame whether it was dubbed."""
    size = args.wav2lip_batch_size or (16 if precision.device.type == "cpu" else 128)
    dubbed = []
    with (
        VideoWriter(outfile, source.rate, args.audio, source.reader) as writer,
        tqdm(total=_frames_in(source, speech.seconds, looped=True), desc="dubbing", unit="frame") as bar,
    ):
        size = max(1, min(size, BATCH_BYTES // source.first_image().nbytes))
        frames = tasks(source, rect_at, speech, hp, args.published_timing)
        while batch := list(islice(frames, size)):
            with_face = [task for task in batch if task.rect is not None]
            if with_face:
                faces = new_mouths(generator, with_face, speech.mel, hp, precision)
                for task, face in zip(with_face, faces, strict=True):
                    paste(task.image, face, task.rect)
            for task in batch:
                writer.write(task.image, task.time)
            dubbed += [task.rect is not None for task in batch]
            bar.update(len(batch))
    return dubbed


def _frames_in(source: Source, seconds: float, looped: bool = False) -> int | None:
    """About how many frames there will be, for the progress bar."""
    if source.still and not looped:
        return 1
    wanted = math.ceil(seconds * float(source.rate))
    there = None if source.still else source.reader.frame_estimate
    return wanted if looped or there is None else min(wanted, there)


def resolve_outfile(args: argparse.Namespace) -> Path:
    """The file to write: --outfile itself, or <face>_<audio>.mp4 in it where it is a folder."""
    out = args.outfile
    if out.is_dir() or not out.suffix:
        out = out / f"{args.face.stem}_{args.audio.stem}.mp4"
    cli.writable_folder(out.parent, "--outfile")
    for flag, given in (("--face", args.face), ("--audio", args.audio)):
        if given.exists() and out.exists() and out.samefile(given):
            raise InputError(f"--outfile {out}: is the file given as {flag}; choose another name")
    return out


def main(args: argparse.Namespace) -> None:
    began = time.perf_counter()
    device = pick_device(args.device)
    path = args.checkpoint_path or weights.generator_there()
    if not args.checkpoint_path:
        print(f"generator: {path}", flush=True)
    generator, hp = checkpoint.load_network(path, Wav2Lip, args.hparams)
    generator.to(device, memory_format=torch.channels_last)
    speech = load_speech(args.audio, hp)
    shape = Shape(args.resize_factor, args.rotate, tuple(args.crop))
    source = Source(args.face, shape, args.static, args.fps)
    outfile = resolve_outfile(args)
    ready = time.perf_counter()

    rect_at, bridged = find_faces(source, speech.seconds, args, device)
    faces_found = time.perf_counter()
    try:
        dubbed = dub(generator, source, rect_at, speech, hp, args, Precision("fp32", device), outfile)
    except torch.OutOfMemoryError as error:
        raise InputError(f"--device {device}: has too little memory; lower --wav2lip_batch_size") from error
    done = time.perf_counter()

    passed = dubbed.count(False)
    report = {
        "face": str(args.face), "audio": str(args.audio), "checkpoint": str(path),
        "timing": "published" if args.published_timing else "training",
        "frames": len(dubbed), "dubbed": dubbed.count(True), "passed_without_face": passed,
        "damaged_packets": source.reader.damaged_packets if source.reader else 0,
        "face_boxes_bridged": bridged, "speech_seconds": round(speech.seconds, 3),
        "seconds": {
            "load": round(ready - began, 2), "faces": round(faces_found - ready, 2), "dub": round(done - faces_found, 2)
        },
    }  # fmt: skip
    cli.write_text(Path(f"{outfile}.json"), json.dumps(report, indent=1, ensure_ascii=False) + "\n")
    print(f"{outfile}: {len(dubbed)} frames" + (f", {passed} without a face left as they were" if passed else ""))


def demonstrate(args: argparse.Namespace) -> None:
    from demo import showcase  # scikit-image and the scorers, which no other dub waits for

    showcase.prepare()
    args.face, args.audio, args.outfile = showcase.FACE, showcase.AUDIO, showcase.DUBBED
    main(args)
    showcase.conclude(pick_device(args.device))


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--checkpoint_path", type=Path, help="generator weights (default: published ones that are there, else bundled)")
    add("--face", type=Path, help="video or picture with the face")
    add("--audio", type=Path, help="any sound or video file with the speech")
    add("--demo", action="store_true", help="dub the bundled portrait with the bundled speech, and score the result")
    add("--outfile", "--out-file", "--out_file", type=Path, default=Path("results/result_voice.mp4"),
        help="video to write, or a folder (default: results/result_voice.mp4)")  # fmt: skip
    add("--static", type=_boolean, nargs="?", const=True, default=False, help="use the first frame only")
    add("--fps", type=float, default=25.0, help="frames a second where --face is a picture")
    add("--pads", type=int, nargs=4, default=(0, 10, 0, 0), metavar=("TOP", "BOTTOM", "LEFT", "RIGHT"),
        help="pixels added to the face box; more at the bottom takes in the chin")  # fmt: skip
    add("--face_det_batch_size", type=int, default=16, help="frames detected at once")
    add("--wav2lip_batch_size", type=int, help="frames dubbed at once (default: 128, on a CPU 16)")
    add("--resize_factor", type=int, default=1, help="divide the resolution by this")
    add("--crop", type=int, nargs=4, default=(0, -1, 0, -1), metavar=("TOP", "BOTTOM", "LEFT", "RIGHT"),
        help="use this part of the frame, after --resize_factor and --rotate; -1 is the far edge")  # fmt: skip
    add("--box", type=int, nargs=4, metavar=("TOP", "BOTTOM", "LEFT", "RIGHT"),
        help="the face is here in every frame; no detection")  # fmt: skip
    add("--rotate", action="store_true", help="turn the video clockwise by 90 degrees")
    add("--nosmooth", action="store_true", help="do not smooth the face boxes over 5 frames")
    add("--published_timing", action="store_true", help="start the mel as the published code does, 40 ms later")
    add("--face_detector", choices=("auto", "sfd", "retinaface"), default="auto")
    cli.add_common_flags(parser)
    args = parser.parse_args(argv)
    if not args.demo and not (args.face and args.audio):
        parser.error("--face and --audio are needed, or --demo")
    if args.box and set(args.box) == {-1}:  # the published way of saying: detect
        args.box = None
    if args.fps <= 0 or min(args.resize_factor, args.face_det_batch_size, args.wav2lip_batch_size or 1) < 1:
        parser.error("--fps, --resize_factor and the batch sizes must be above zero")
    return args


def _boolean(text: str) -> bool:
    if text.lower() not in ("true", "false"):
        raise argparse.ArgumentTypeError("give True or False")
    return text.lower() == "true"


if __name__ == "__main__":
    given = parse_args()
    cli.run(demonstrate if given.demo else main, given)
