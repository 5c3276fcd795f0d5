"""The speech to dub with: its mel spectrogram, its length, and where it is silent."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

import audio
from dubbing.options import Options
from dubbing.source import Source
from dubbing.voices import Part, Place, Voices, flag_of
from hparams import HParams
from media.opening import add_notice
from media.sound import read_audio, sound_clock
from utils.errors import InputError, flag_named, warn

SHORTEST_REST = 0.3  # seconds; shorter pauses are part of speaking
SPEECH_MARGIN = 0.08  # seconds around speech in which the mouth is on its way
FADE_SECONDS = 0.08  # seconds from speech to rest
AT_FULL_SCALE = 0.999  # of the largest value
ONE_VOICE = ("box", "face_at", "face_index", "speaking_only")  # options that say whose the only voice is


class Speech(NamedTuple):
    parts: Sequence[Part]  # its files
    mel: np.ndarray  # float32 [num_mels, columns]
    seconds: float
    silent: float  # share of the time in which the mouth rests
    raised: float  # decibels by which it is louder in the mel than in the file
    found: list[str]  # what is unusual about its files and their sound, in short phrases
    clipped: float  # share of the samples that are at full scale
    too_low: float  # decibels by which it is too quiet with --level keep
    share: float  # of the time, in which someone speaks

    @property
    def path(self) -> Path:
        return self.parts[0].audio

    @property
    def findings(self) -> list[str]:
        """What was found in the file and changed, in short phrases."""
        return [*self.found, *audio.raised_notice(self.raised)]


def load_speeches(voices: Voices, options: Options, hp: HParams) -> dict[Place | None, Speech]:
    """The speech of every person; all last as long as the longest, in silence. Raises as load_speech()."""
    for name in ONE_VOICE if None not in voices else ():
        if getattr(options, name) not in (None, False):
            raise InputError(f"--voice and --{name}: give one of them")
    speeches = {who: load_speech(parts, options, hp, flag_of(who)) for who, parts in voices.items()}
    seconds = max(speech.seconds for speech in speeches.values())
    columns = max(speech.mel.shape[1] for speech in speeches.values())
    for who, speech in speeches.items():
        after = (0, 0), (0, columns - speech.mel.shape[1])
        mel = np.pad(speech.mel, after, constant_values=-hp.max_abs_value)
        silent = 1 - (1 - speech.silent) * speech.seconds / seconds
        speeches[who] = speech._replace(mel=mel, seconds=seconds, silent=silent)
    return speeches


def own_mel(source: Source, hp: HParams) -> np.ndarray:
    """The mel spectrogram of a video's own sound, from the video's zero on, raised where it is quiet. Raises InputError
    where that cannot be read."""
    wav = read_audio(source.path, hp.sample_rate, source.clock.zero)
    return audio.melspectrogram(audio.raise_quiet_speech(wav, hp)[0], hp)


def load_speech(parts: Sequence[Part], options: Options, hp: HParams, flag: str = "--audio") -> Speech:
    """Speech of media files, each from its zero, raised where it is quiet unless --level is keep. With --silence rest
    its silence becomes that of a quiet room: the lowest mel values. Raises InputError for what cannot be used."""
    stream, path = options.audio_stream, parts[0].audio
    wav, found = np.zeros(0, np.float32), list[str]()
    for part in parts:
        with flag_named(flag):
            clock = sound_clock(part.audio, stream)
        add_notice(found, *clock.findings)
        sound = read_audio(part.audio, hp.sample_rate, clock.sound_zero, stream, found)
        first = round(part.start * hp.sample_rate)
        wav = np.pad(wav, (0, max(0, first + len(sound) - len(wav))))
        wav[first : first + len(sound)] += sound
    seconds, least = len(wav) / hp.sample_rate, hp.mel_window / hp.mel_columns_per_second
    if seconds < least:
        raise InputError(f"{flag} {path}: lasts {seconds:.2f} s; at least {least:.1f} s of speech are needed")
    clipped = float((np.abs(wav) > AT_FULL_SCALE * max(1.0, float(np.abs(wav).max()))).mean())
    gain = audio.speech_gain(wav, hp)
    raised = 0.0 if options.level == "keep" else gain
    wav = wav * np.float32(10 ** (raised / 20)) if raised else wav
    powers = audio.frame_powers(wav, hp)
    if audio.is_silent(powers):
        raise InputError(f"{flag} {path}: is silent ({audio.loudness_dbfs(powers):.0f} dBFS); give a file with speech")
    if doubt := audio.speech_doubt(powers):
        found.append(doubt)
        warn(f"{flag} {path}: {doubt}; is there speech in it?")
    mel = audio.melspectrogram(wav, hp)
    silent = 0.0
    if options.silence == "rest":
        gate = speech_gate(powers, mel.shape[1], hp)
        mel, silent = fade_silence(mel, gate, hp), float((gate == 0).mean())
    return Speech(parts, mel, seconds, silent, raised, found, clipped, gain - raised, audio.speech_share(powers))


def speech_gate(powers: np.ndarray, columns: int, hp: HParams) -> np.ndarray:
    """1 where someone speaks, 0 where the mouth rests, smooth in between: float32 [columns], for mel columns.

    powers: audio.frame_powers of the sound.
    """
    frame = hp.win_size / hp.sample_rate  # seconds
    speaking = audio.speech_frames(powers).astype(np.uint8)[None]  # one row, as pictures have it
    rest = _row(round(SHORTEST_REST / frame))
    grown = cv2.dilate(np.pad(speaking, ((0, 0), (10, 10)), mode="edge"), rest)
    spoken = cv2.erode(grown, rest, anchor=((rest.size - 1) // 2, 0))[:, 10:-10]  # the mirrored row: nothing moves
    spoken = cv2.dilate(spoken, _row(2 * round(SPEECH_MARGIN / frame) + 1))[0]
    times = np.arange(columns) / hp.mel_columns_per_second
    gate = spoken[np.minimum((times / frame).astype(int), len(spoken) - 1)].astype(np.float32)[None]
    for _ in range(2):
        gate = cv2.blur(gate, (round(FADE_SECONDS * hp.mel_columns_per_second), 1), borderType=cv2.BORDER_REPLICATE)
    return gate[0]


def _row(length: int) -> np.ndarray:
    return np.ones((1, length), np.uint8)


def fade_silence(mel: np.ndarray, gate: np.ndarray, hp: HParams) -> np.ndarray:
    """The mel spectrogram (float32 [num_mels, columns]) faded to silence where the gate is 0."""
    return (gate * (mel + hp.max_abs_value) - hp.max_abs_value).astype(np.float32)
