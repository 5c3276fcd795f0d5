"""Single dubbed frames, without a dub: one beside its source, to try settings on, or some, to see what a dub will look
like. They are drawn where the speech is loudest, which opens the mouth."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np

from audio import dub_mel_start
from dubbing.faces import FaceRegions, no_face
from dubbing.networks import Networks, load_networks
from dubbing.occlusion import OcclusionDetector
from dubbing.options import Options
from dubbing.paste import upright_crop
from dubbing.reading import FrameReader, Masks
from dubbing.record import DUBBED, StageTimer
from dubbing.refining import refine_stage
from dubbing.samples import Samples, look_at, spread
from dubbing.source import Source
from dubbing.speech import Speech, load_speech
from dubbing.stages import Composite, FrameTask, Generate, dub_stages, run_stages
from face_detection.crop import to_network_size
from hparams import HParams
from media import codecs, yuv
from media.files import tagged_png
from utils.errors import InputError
from utils.files import write_bytes
from utils.images import BACKGROUND, FONT, FONT_SCALE, INK, Rect, labelled_rows, square_around

OTHERS = 5  # frames from all over the video that tell who is in it, and how the person looks
VOWELS = 40  # mel bands from the lowest, up to some 2 kHz, where vowels have their energy
TITLE = 32  # pixels, height of what is written above a picture
VIEW, MARGIN = 480, 0.15  # pixels of a face in the picture, and how much is shown around it, in parts of its size


@dataclass(frozen=True)
class Drawn:
    """A frame before and after, BGR uint8 [H, W, 3] of one size, shown at `time` seconds; rect: where its face is."""

    time: float
    before: np.ndarray
    after: np.ndarray
    rect: Rect


def still(face: Path, audio: Path, outfile: Path, options: Options) -> Drawn:
    """Write one frame of the dub, at the loudest moment of the speech, beside its source, as PNG.

    outfile: the picture. Raises InputError for what cannot be used, and where that frame shows no face to dub.
    """
    networks = load_networks(replace(options, no_score=True))
    speech = load_speech(audio, options.audio_stream, options.silence == "rest", networks.hp, options.level == "keep")
    source = Source(face, options.transform, options.static, options.frame_rate, options.start, options.end)
    pix_fmt = codecs.choose(options.codec, codecs.usual_suffix(options.codec), source.pix_fmt).pix_fmt
    seconds = shown_seconds(source, speech)
    (loudest,) = loudest_times(speech.mel, networks.hp, seconds, 1)
    others = spread(seconds, 0 if options.box else OTHERS)
    frames = source.frames_at(pix_fmt, sorted({loudest, *others}))
    samples = look_at(frames, options, networks.generator.device, Path(f"{outfile}.faces.png"))
    numbers = samples.in_times([loudest])
    if source.still:
        samples = replace(samples, frames=[frame._replace(time=loudest) for frame in samples.frames])
    drawn = draw(numbers, samples, source, pix_fmt, speech, networks, options)
    if not drawn:
        raise InputError(no_face(source, pix_fmt, seconds, options))
    pictures = {"source": drawn[0].before, "result": drawn[0].after}
    rect = drawn[0].rect
    shown = [_titled(square_around(picture, rect, MARGIN, VIEW), title) for title, picture in pictures.items()]
    write_bytes(outfile, tagged_png(np.hstack(shown)))
    return drawn[0]


def draw(
    numbers: Sequence[int],
    samples: Samples,
    source: Source,
    pix_fmt: str,
    speech: Speech,
    networks: Networks,
    options: Options,
) -> list[Drawn]:
    """These of the samples as a dub will show them, but for the smoothing of boxes; those without a face to dub are
    left out."""
    hp, regions = networks.hp, samples.regions(source, options)
    crops = samples.crops(regions)
    occlusion = None
    if options.occlusion:
        small = [to_network_size(crop, hp.img_size) for crop in crops]
        occlusion = OcclusionDetector(
            np.stack(small) if small else np.empty((0, hp.img_size, hp.img_size, 3), np.uint8)
        )
    refine = refine_stage(networks.refiner, crops)
    stages = dub_stages(Generate(networks.generator, speech.mel, hp.mel_window), refine, options.paste)
    size = refine.refiner.size if refine else None
    masks, faces = Masks(options.paste, hp.img_size, occlusion), FaceRegions(regions, [], None, False)
    reader = FrameReader(source, pix_fmt, speech.seconds, faces, speech, masks, size, hp, options)
    drawn = []
    for number in numbers:
        frame, region = samples.frames[number], regions[number]
        if region is None:
            continue
        crop = upright_crop(frame.picture, region)
        shown = to_network_size(crop, hp.img_size)
        if occlusion:
            occlusion.reset()
            occlusion.visible(shown)  # what covers a face counts from the second frame on
        frame = frame._replace(picture=yuv.clone(frame.picture))
        task = FrameTask(frame, DUBBED, reader.face_task(frame, region, crop, shown))
        before = yuv.to_bgr(frame.picture)
        run_stages([task], stages | {"composite": Composite(options.paste)}, StageTimer())
        drawn.append(Drawn(frame.time, before, yuv.to_bgr(frame.picture), region.rect))
    return drawn


def sheet_of(drawn: Sequence[Drawn]) -> np.ndarray:
    """Sources above results, cropped to their faces, at least one: BGR uint8."""
    pairs = [[square_around(picture, d.rect, MARGIN, VIEW) for picture in (d.before, d.after)] for d in drawn]
    sources, results = zip(*pairs, strict=True)
    return labelled_rows({"source": sources, "result": results})


def shown_seconds(source: Source, speech: Speech | None) -> float:
    """How much of one play is dubbed."""
    end = source.clock.picture.end if source.clock.picture and not source.still else np.inf
    return float(min(end, speech.seconds if speech else np.inf))


def loudest_times(mel: np.ndarray, hp: HParams, seconds: float, count: int) -> list[float]:
    """When to show a frame, within the first seconds of a speech, so that what it is paired with is loud; one time in
    each of `count` equal parts. mel: float32 [num_mels, columns]."""
    decibels = (mel[:VOWELS] / hp.max_abs_value + 1) / 2 * -hp.min_level_db
    power = np.convolve((10 ** (decibels / 10)).sum(axis=0), np.ones(hp.mel_window), mode="valid")  # by first column
    ends = np.linspace(0, seconds, count + 1)
    times = []
    for start, end in pairwise(ends):
        grid = np.arange(start, end, 1 / hp.mel_columns_per_second)
        starts = [dub_mel_start(float(time), mel.shape[1], hp) for time in grid]
        times.append(float(grid[int(np.argmax(power[starts]))]))
    return times


def _titled(picture: np.ndarray, title: str) -> np.ndarray:
    band = np.full((TITLE, picture.shape[1], 3), BACKGROUND, np.uint8)
    cv2.putText(band, title, (10, TITLE * 2 // 3), FONT, FONT_SCALE, INK, 1, cv2.LINE_AA)
    return np.vstack([band, picture])
