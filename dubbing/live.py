"""Lips that follow speech while it is spoken: the frames of an idle video, forwards and backwards without end, each
with the mouth of its moment.

A frame needs the mel of up to 172 ms after its time, so it comes that much after its sound, and what it takes to draw
it. All times are counted in samples of the sound: nothing can drift.
"""

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import chain, islice
from math import ceil, inf
from pathlib import Path
from time import monotonic

import av
import numpy as np

import audio
from dubbing import stages
from dubbing.faces import FaceFinder
from dubbing.networks import Networks, load_networks
from dubbing.options import Options
from dubbing.paste import add_label
from dubbing.person import Person
from dubbing.record import ProgressBar
from dubbing.source import Source
from dubbing.speech import SHORTEST_REST, Speech, fade_silence, speech_gate
from hparams import HParams
from media import yuv
from media.live_sound import Piece
from media.live_writer import LiveFrame
from utils.errors import warn
from utils.progress import Progress

IDLE_BYTES = 1_000_000_000  # of the idle video's pictures, all of which are kept
FASTEST = 31  # frames a second; of faster videos every second or third frame is shown
LATE = 0.1  # seconds after its turn from which on a frame is dropped
TAIL = 0.25  # seconds of silence that complete the last frames' mel
HEARD_SECONDS = 60  # in which loud and soft are told apart
LEVEL_SECONDS, LEVEL_STEP = 10, 0.25  # in which the level is measured; decibels by which it changes at a time
LOUD = 0.1  # of full scale; softer sound that is not raised is no speech


class Ear:
    """What the network hears of the speech: its mel, raised where it is quiet, faded to silence in pauses."""

    def __init__(self, options: Options, hp: HParams) -> None:
        self.options, self.hp, self._stream = options, hp, audio.MelStream(hp)
        self._mel, self._first = np.zeros((hp.num_mels, 0), np.float32), 0  # columns that are kept, and the first one
        self._rest, self._measured = np.zeros(0, np.float32), 0  # less than 50 ms; samples since the level was measured
        self._powers, self._forgotten = deque[float](), 0  # as of frame_powers(), and how many are not kept any more
        self._recent, self._gain, self._wanted = np.zeros(0, np.float32), 0.0, 0.0  # sound as it came; decibels

    def add(self, samples: np.ndarray) -> None:
        hp = self.hp
        samples = self._raised(samples) if self.options.level == "auto" else samples
        self._mel = np.concatenate([self._mel, self._stream.add(samples)], axis=1)
        self._rest = np.concatenate([self._rest, samples])
        powers = audio.frame_powers(self._rest, hp)
        self._rest = self._rest[len(powers) * hp.win_size :]
        self._powers.extend(powers.tolist())
        while len(self._powers) > HEARD_SECONDS * hp.sample_rate / hp.win_size:
            self._powers.popleft()
            self._forgotten += 1

    def mel(self, start: int) -> np.ndarray | None:
        """The window that begins at this column, float32 [num_mels, mel_window]; None where it is not heard yet."""
        width = self.hp.mel_window
        mel = self._mel[:, start - self._first :][:, :width]
        if mel.shape[1] < width:
            return None
        gate = self._gate(start) if self.options.silence == "rest" else np.ones(width, np.float32)
        return fade_silence(mel, gate, self.hp)

    def forget(self, start: int) -> None:
        """What is before this column."""
        self._mel, self._first = self._mel[:, start - self._first :], start

    def _gate(self, start: int) -> np.ndarray:
        """That of speech_gate() for a window. A pause that may still turn out to be short counts as speech."""
        hp, powers = self.hp, np.array(self._powers)
        shortest = round(SHORTEST_REST * hp.sample_rate / hp.win_size)
        if audio.speech_frames(powers)[-shortest:].any():
            powers = np.append(powers, np.full(shortest, powers.max()))
        first = start - round(self._forgotten * hp.win_size / hp.hop_size)
        return speech_gate(powers, first + hp.mel_window, hp)[first:]

    def _raised(self, samples: np.ndarray) -> np.ndarray:
        """At the level of the training, as speech_gain() has it for what was heard last."""
        rate, before = self.hp.sample_rate, self._gain
        self._recent = np.concatenate([self._recent, samples])[-LEVEL_SECONDS * rate :]
        self._measured += len(samples)
        if self._measured >= rate:
            found, self._measured = audio.speech_gain(self._recent, self.hp), 0
            self._wanted = found if found or np.abs(self._recent).max() > LOUD else self._wanted
        self._gain += float(np.clip(self._wanted - before, -LEVEL_STEP, LEVEL_STEP))
        return samples * np.float32(10 ** (self._gain / 20)) if self._gain else samples


class LiveDub:
    """A dub of an idle video, or a picture, by speech that is still coming in."""

    def __init__(
        self, face: Path, options: Options, networks: Networks | None = None, progress: ProgressBar = Progress
    ) -> None:
        """networks: used where they fit a stream with these options; else they are loaded."""
        options = replace(options, no_score=True, wav2lip_batch_size=1)
        self.options, self.source = options, Source(face, options)
        source, skip = self.source, ceil(self.source.rate / FASTEST)
        self.rate = source.rate / skip
        self.networks = networks = networks if networks and networks.fit(options) else load_networks(options)
        self.hp = hp = networks.hp
        seconds = min(source.play_seconds, IDLE_BYTES / source.frame_bytes() / float(self.rate))
        if not source.still and seconds < source.play_seconds:
            warn(f"--face {face}: only its first {seconds:.0f} s are shown, which are kept in memory")
        faces = FaceFinder(source, seconds, networks.backend.device).find(progress)
        frames = source.iter_once() if source.still else source.extend_frames(seconds)
        kept = [frame._replace(picture=yuv.clone(frame.picture)) for frame in islice(frames, 0, None, skip)]
        silence = np.full((hp.num_mels, hp.mel_window), -hp.max_abs_value, np.float32)
        self.person = Person(networks, options, Speech([], silence, inf, 0.0, 0.0, [], 0.0, 0.0, 1.0))
        self.person.use(faces, faces.crops(kept) if options.occlusion else [])
        if self.person.wants_own_pixels(source):
            self.person.use_own_pixels(source, seconds, progress)
        self.idle = [(frame, self.person.task(frame)) for frame in kept]

    def __str__(self) -> str:
        size = f"{self.source.width}x{self.source.height}"
        return f"{self.networks.summary()}; {size}, {float(self.rate):g} frames a second"

    def frames(self, pieces: Iterable[Piece], drop: bool = False) -> Iterator[LiveFrame]:
        """A frame as soon as its sound is there, up to the end of the sound. drop: those that come too late."""
        ear, rate, number = Ear(self.options, self.hp), self.hp.sample_rate, 0
        heard, sent, waiting = 0, 0, np.zeros(0, np.float32)  # samples that were heard, those sent, and the others
        for piece in chain(pieces, [None]):
            if piece:
                heard, waiting = heard + len(piece.samples), np.concatenate([waiting, piece.samples])
            ear.add(piece.samples if piece else np.zeros(round(TAIL * rate), np.float32))
            due = piece.due if piece else monotonic()
            while sent < heard:
                around, mel = (ear.mel(self._mel_start(number, before)) for before in (2, 1))
                if around is None or mel is None:
                    break
                ear.forget(self._mel_start(number, 2))
                picture = None if drop and monotonic() - due > LATE else self._picture(number, mel, around)
                end = round((number + 1) * rate / self.rate)
                yield LiveFrame(picture, float(number / self.rate), waiting[: end - sent], due - (heard - sent) / rate)
                waiting, sent, number = waiting[end - sent :], end, number + 1

    def _mel_start(self, number: int, before: int) -> int:
        """The column of the sound so many 25ths of a second before a frame."""
        return audio.mel_column(max(0.0, float(number / self.rate) - before / self.hp.fps), self.hp)

    def _picture(self, number: int, mel: np.ndarray, around: np.ndarray) -> av.VideoFrame:
        """mel, around: float32 [num_mels, mel_window], for the generator, and around the frame for the expert."""
        turn, own = max(1, 2 * (len(self.idle) - 1)), self.person.own_pixels
        frame, face = self.idle[min(number % turn, -number % turn)]
        frame = frame._replace(picture=yuv.clone(frame.picture), time=float(number / self.rate))
        if own and self.networks.expert:
            own.speech = self.networks.expert.embed_mel(around)
        if face:
            face = replace(face, frame=frame, mel=mel)
            stages.generate(self.networks.generator, [face])
            for stage in self.person.stages.values():
                stage([face])
            stages.composite(face, self.options.paste)
        if self.options.label:
            add_label(frame.picture)
        return frame.picture
