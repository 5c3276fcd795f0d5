"""One dub, from a video and speech to a video; everything that happens to a frame happens in this order:

thread "ahead"     read: decode, cut out the face
main thread        generate: draw mouths in batches, match their colours; judge: score lips against the speech
thread "behind"    paste: put the mouth into the picture; encode
"""

import argparse
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from tqdm import tqdm

import audio
import checkpoint
import encoders
import planar
import scorers
import weights
from cli import InputError
from devices import Precision, pick_device
from drawing import Artist, prepared
from dubbing import faces
from dubbing.lip_judge import LipJudge
from dubbing.paste import Spot, blended, look, match_colours, paste
from dubbing.pipeline import Behind, ahead
from dubbing.record import ContactSheet, States, Stopwatch, write_json
from dubbing.source import Moment, Shape, Source
from dubbing.speech import Speech, load_speech
from face_detection.sparse import resembles
from hparams import HParams
from models import Wav2Lip
from video_writer import VideoWriter

WAITING_BYTES = 300_000_000  # frames between the decoder and the encoder take at most this
BATCH_CPU, BATCH_GPU = 16, 128


@dataclass(frozen=True)
class Engine:
    """The networks, which many dubs share."""

    artist: Artist
    hp: HParams
    path: Path
    sha256: str
    scorer: scorers.ExpertScorer | None


class Task(NamedTuple):
    """One output frame. face: the crop that the network is shown, uint8 [S, S, 3], where there is a spot."""

    moment: Moment
    spot: Spot | None
    state: str
    face: np.ndarray | None
    mel_start: int


def load_engine(args: argparse.Namespace) -> Engine:
    device = pick_device(args.device)
    path = args.checkpoint_path or weights.generator_there()
    if not args.checkpoint_path:
        print(f"generator: {path}", flush=True)
    precision = Precision(args.precision, device)
    generator, hp = checkpoint.load_network(path, Wav2Lip, args.hparams)
    batch = args.wav2lip_batch_size or (BATCH_CPU if device.type == "cpu" else BATCH_GPU)
    expert = next(filter(Path.exists, weights.experts()), None)
    scorer = scorers.load(expert, device) if expert else None
    artist = Artist(prepared(generator, precision), precision, batch)
    return Engine(artist, hp, path, weights.sha256(path), scorer)


def dub(engine: Engine, args: argparse.Namespace, outfile: Path) -> dict:
    """Write the dubbed video, <outfile>.json and what else is asked for; returns what the JSON says."""
    watch = Stopwatch()
    with watch("speech"):
        speech = load_speech(args.audio, args.audio_stream, args.silence == "rest", engine.hp)
        judge = LipJudge(engine.scorer, speech.mel) if engine.scorer else None
    source = Source(args.face, Shape(args.resize_factor, args.rotate, tuple(args.crop)), args.static, args.fps)
    encoding = encoders.choose(args.codec, outfile.suffix, source.pix_fmt, args.crf, args.preset)
    seconds = min(speech.seconds, args.preview or speech.seconds)
    with watch("faces"):
        found = faces.find(source, encoding.pix_fmt, seconds, args, engine.artist.precision.device)
    frames = source.frames_in(seconds, args.keep_length)
    states, sheet = States(), ContactSheet(frames) if args.report else None
    writer = VideoWriter(outfile, source.rate, args.audio, source.reader, encoding, args.audio_stream, args.preview)
    batch = max(1, min(engine.artist.batch, WAITING_BYTES // 2 // source.frame_bytes(encoding.pix_fmt)))
    queued = batch // 2 + 1  # before the generator, and behind it
    with watch("dub"):
        tasks = watch.each("read", _tasks(source, found, speech, encoding.pix_fmt, seconds, engine.hp, args))
        with (
            writer,
            Behind(_finish(writer, states, sheet, source, args.paste, watch), queued) as finish,
            closing(ahead(tasks, queued)) as waiting,
            tqdm(total=frames, desc="dubbing", unit="frame") as bar,
        ):
            while some := list(islice(waiting, batch)):
                for task, mouth in _drawn(engine, some, speech, args.paste, judge, watch):
                    finish((task, mouth))
                bar.update(len(some))
    sync = judge.conclude() if judge else None
    record = _record(engine, args, speech, source, found, encoding, states) | {"sync": sync, "busy": watch.rounded()}
    write_json(Path(f"{outfile}.json"), record)
    if sheet:
        sheet.write(Path(f"{outfile}.png"))
    return record


def _tasks(source: Source, found: faces.Found, speech: Speech, pix_fmt: str, seconds: float, hp: HParams,
           args: argparse.Namespace) -> Iterator[Task]:  # fmt: skip
    columns, known = speech.mel.shape[1], None
    for moment in source.play(pix_fmt, seconds, args.extend, args.keep_length and not args.preview):
        spoken = moment.time < speech.seconds
        spot, state = found.at(moment.number) if spoken else (None, "passed")
        face = look(moment.picture, spot, hp.img_size) if spot else None
        if state == "bridged" and known is not None and not resembles(face[: hp.img_size // 2], known):
            spot, state, face = None, "passed", None  # no face was missed: something else is shown for a moment
        elif face is not None:
            known = face[: hp.img_size // 2]
        start = audio.dub_mel_start(moment.time, columns, hp, args.published_timing)
        yield Task(moment, spot, state, face, start)
        if args.published_timing and audio.mel_column(moment.time, hp) + hp.mel_window > columns:
            return


def _drawn(engine: Engine, some: list[Task], speech: Speech, style: str, judge: LipJudge | None,
           watch: Stopwatch) -> Iterator[tuple[Task, np.ndarray | None]]:  # fmt: skip
    """Every task with its face as drawn, None where there is no face."""
    with_face = [task for task in some if task.spot]
    mouths, looks = iter(()), iter(())
    if with_face:
        with watch("generate"):
            shown = np.stack([task.face for task in with_face])
            window = engine.hp.mel_window
            mels = np.stack([speech.mel[None, :, task.mel_start : task.mel_start + window] for task in with_face])
            try:
                drawn = engine.artist.draw(shown, mels)
            except torch.OutOfMemoryError as error:
                raise InputError("--device: has too little memory for one frame; use --device cpu") from error
            if style == "soft":
                drawn = match_colours(drawn, shown)
        mouths, looks = iter(drawn), iter(blended(drawn, shown, style))
    for task in some:
        if judge:
            with watch("judge"):
                judge.see(task.moment, next(looks) if task.spot else None)
        yield task, next(mouths) if task.spot else None


def _finish(writer: VideoWriter, states: States, sheet: ContactSheet | None, source: Source, style: str,
            watch: Stopwatch):  # fmt: skip
    """What is done to a task and its new mouth, in order."""
    step = 1 / float(source.rate)
    number = -1

    def finish(item: tuple[Task, np.ndarray | None]) -> None:
        nonlocal number
        (moment, spot, state, *_), mouth = item
        number += 1
        sampled = sheet is not None and number in sheet.wanted
        before = planar.to_bgr(moment.picture) if sampled else None
        if mouth is not None:
            with watch("paste"):
                paste(moment.picture, spot, mouth, style)
        if sampled:
            sheet.add(before, planar.to_bgr(moment.picture))
        with watch("encode"):
            writer.write_picture(moment.picture, moment.time)
        states.add(state, moment.time, step)

    return finish


def _record(engine: Engine, args: argparse.Namespace, speech: Speech, source: Source, found: faces.Found, encoding,
            states: States) -> dict:  # fmt: skip
    return {
        "face": str(args.face), "audio": str(args.audio),
        "generator": {"file": str(engine.path), "sha256": engine.sha256},
        "precision": engine.artist.precision.name, "device": str(engine.artist.precision.device),
        "timing": "published" if args.published_timing else "training",
        "paste": args.paste, "silence": args.silence, "silent_share": round(speech.silent, 3), "extend": args.extend,
        "encoder": encoding.encoder, "options": encoding.options,
        "speech_seconds": round(speech.seconds, 3), "preview_seconds": args.preview,
        "frames": sum(states.counts.values()), **states.to_dict(),
        "faces": {"detector": found.detector, "cached": found.cached},
        "damaged_packets": source.reader.damaged_packets if source.reader else 0,
        "batch_halved": engine.artist.halved,
    }  # fmt: skip
