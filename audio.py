"""Speech to mel spectrogram, and which mel columns belong to which video frame.

The mel spectrogram is the published one (Wav2Lip, ACM MM 2020): 16 kHz mono, pre-emphasis, a centred STFT with
reflect padding, 80 Slaney mel bands, decibels mapped linearly to -4..4; 80 columns a second.

    frames      0     1     2     3     4          at 25 fps
    mel columns 0.....3.....6.....9.....12...16    window of frame 0: columns 0 to 15

In training, frame j is shown with the mel that starts one frame earlier, at int(80·(j-1)/25), so that its own
moment lies inside the 16 columns.
"""

from collections.abc import Iterable, Iterator
from functools import lru_cache
from pathlib import Path

import numpy as np
import soundfile
from numpy.lib.stride_tricks import sliding_window_view

from hparams import HParams, hparams
from media.sound import read_audio
from utils.files import system_name

MEL_BLOCK = 4096  # columns transformed at once, which bounds the memory of a long recording
FRAME_BLOCK = 1024  # 50 ms of sound measured at once, likewise
MEL_HZ, LINEAR_BELOW, MEL_LOG_STEP = 200 / 3, 1000.0, np.log(6.4) / 27  # Slaney: linear, above 1 kHz logarithmic
SILENCE_DBFS = -60.0
STEADY_DB = 4.0
SPEECH_FLOOR_DBFS = -50.0
SPEECH_RANGE_DB = 25.0  # between loud and soft parts of speech
SPEECH_DBFS = -20.0  # root mean square over speech that networks are shown: the middle of what they were trained on
QUIET_DB = 6.0  # below that; what is less quiet, and what is louder, stays as it is
MOST_RAISED_DB = 40.0  # what is softer than this makes up for is what another track or a codec left
VOICED_LAGS = 1 / 400, 1 / 70  # seconds: periods of voices
VOICED_FROM_HZ = 150.0  # rumble, which has its energy below, can look periodic
VOICED = 0.4  # of 1: the correlation of 50 ms of sound with itself a period later
VOICED_SHARE = 0.05  # of the loud parts; speech has 0.17 to 0.8, under white noise 10 dB softer 0.11; noise has 0.01


def load_wav(path: str | Path, sr: int) -> np.ndarray:
    """Sound of any media file as float32 [samples] in -1..1, mono, at `sr` samples a second."""
    return read_audio(path, sr)


def save_wav(wav: np.ndarray, path: str | Path, sr: int) -> None:
    """Write float [samples] in -1..1 as 16-bit PCM, at the level it has."""
    soundfile.write(system_name(path), np.clip(wav, -1.0, 1.0), sr, subtype="PCM_16", format="WAV")


def melspectrogram(wav: np.ndarray, hp: HParams = hparams) -> np.ndarray:
    """Mel spectrogram of mono speech.

    wav: float [samples] in -1..1 at hp.sample_rate, at least hp.n_fft samples.
    Returns float32 [num_mels, columns] in -max_abs_value..max_abs_value; columns = samples // hop_size + 1.
    Raises ValueError when wav is shorter than one FFT window.
    """
    if len(wav) < hp.n_fft:
        raise ValueError(f"speech of {len(wav)} samples is shorter than one FFT window ({hp.n_fft} samples)")
    emphasised = np.asarray(wav, np.float32).copy()
    emphasised[1:] -= hp.preemphasis * np.asarray(wav[:-1], np.float32)
    padded = np.pad(emphasised, hp.n_fft // 2, mode="reflect")

    columns = len(wav) // hp.hop_size + 1
    mel = np.empty((hp.num_mels, columns), np.float32)
    window = _hann(hp)
    for first in range(0, columns, MEL_BLOCK):
        last = min(first + MEL_BLOCK, columns)
        block = padded[first * hp.hop_size : (last - 1) * hp.hop_size + hp.n_fft]
        frames = sliding_window_view(block, hp.n_fft)[:: hp.hop_size]  # [columns, n_fft]
        spectrum = np.abs(np.fft.rfft(frames * window)).T  # [n_fft / 2 + 1, columns]
        mel[:, first:last] = _normalised_db(_mel_basis(hp) @ spectrum, hp)
    return mel


@lru_cache
def _mel_basis(hp: HParams) -> np.ndarray:
    """The mel bands as librosa makes them by default, which takes a second to import: triangles on Slaney's scale, each
    of the same area; float32 [num_mels, n_fft / 2 + 1]."""
    edges = _from_mel(np.linspace(_to_mel(hp.fmin), _to_mel(hp.fmax), hp.num_mels + 2))[:, None]  # Hz
    lowest, middle, highest = edges[:-2], edges[1:-1], edges[2:]
    frequencies = np.fft.rfftfreq(hp.n_fft, 1 / hp.sample_rate)
    rising, falling = (frequencies - lowest) / (middle - lowest), (highest - frequencies) / (highest - middle)
    triangles = np.maximum(0, np.minimum(rising, falling))
    return (triangles * 2 / (highest - lowest)).astype(np.float32)


def _to_mel(frequency: float) -> float:
    if frequency < LINEAR_BELOW:
        return frequency / MEL_HZ
    return LINEAR_BELOW / MEL_HZ + np.log(frequency / LINEAR_BELOW) / MEL_LOG_STEP


def _from_mel(mels: np.ndarray) -> np.ndarray:
    above = mels - LINEAR_BELOW / MEL_HZ
    return np.where(above < 0, mels * MEL_HZ, LINEAR_BELOW * np.exp(np.maximum(above, 0) * MEL_LOG_STEP))


def _hann(hp: HParams) -> np.ndarray:
    """A periodic Hann window of win_size in the middle of n_fft samples, float32."""
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(hp.win_size) / hp.win_size)
    before = (hp.n_fft - hp.win_size) // 2
    return np.pad(window, (before, hp.n_fft - hp.win_size - before)).astype(np.float32)


def _normalised_db(amplitude: np.ndarray, hp: HParams) -> np.ndarray:
    floor = 10.0 ** (hp.min_level_db / 20)
    decibels = 20 * np.log10(np.maximum(floor, amplitude)) - hp.ref_level_db
    scaled = 2 * hp.max_abs_value * (decibels - hp.min_level_db) / -hp.min_level_db - hp.max_abs_value
    return np.clip(scaled, -hp.max_abs_value, hp.max_abs_value)


def window_mel_start(frame: int, hp: HParams = hparams) -> int:
    """First mel column of the training window whose first frame is `frame` (at hp.fps)."""
    return int(hp.mel_columns_per_second * frame / hp.fps)


def frame_mel_starts(frame: int, hp: HParams = hparams) -> list[int]:
    """First mel columns of the window_frames per-frame mels of the window that starts at `frame`; needs frame >= 1."""
    return [window_mel_start(frame - 1 + k, hp) for k in range(hp.window_frames)]


def mel_column(time: float, hp: HParams = hparams) -> int:
    """The mel column at `time` seconds."""
    return int(hp.mel_columns_per_second * time + 1e-6)  # 1e-6: a time such as 1.4 is stored a hair low


def dub_mel_start(time: float, columns: int, hp: HParams = hparams, published: bool = False) -> int:
    """First mel column for a dubbed frame shown `time` seconds after the speech starts.

    columns: length of the mel spectrogram; the start is kept within it. As in training, the mel starts one training
    frame before the picture; `published` leaves that out, as the published inference does, and the lips come out
    40 ms early.
    """
    lead = 0.0 if published else 1.0 / hp.fps
    return max(0, min(mel_column(time - lead, hp), columns - hp.mel_window))


def frame_powers(blocks: Iterable[np.ndarray], hp: HParams = hparams) -> np.ndarray:
    """Mean square of every whole 50 ms of sound that comes in blocks of any length, float32 [n]."""
    powers = [np.mean(np.square(frames), axis=1) for frames in _whole_frames(blocks, hp)]
    return np.concatenate(powers) if powers else np.zeros(0, np.float32)


def _whole_frames(blocks: Iterable[np.ndarray], hp: HParams) -> Iterator[np.ndarray]:
    """The sound in whole frames of 50 ms, so many at once: float32 [n, win_size]."""
    size, rest = hp.win_size, np.zeros(0, np.float32)
    for block in blocks:
        rest = np.concatenate((rest, block))
        whole = len(rest) // size
        for first in range(0, whole, FRAME_BLOCK):
            yield rest[first * size : min(first + FRAME_BLOCK, whole) * size].reshape(-1, size)
        rest = rest[whole * size :]


def loudness_dbfs(powers: np.ndarray) -> float:
    """Root-mean-square level in dB below full scale; -120 at the lowest."""
    return 10 * float(np.log10(np.mean(powers) + 1e-12)) if len(powers) else -120.0


def is_silent(powers: np.ndarray) -> bool:
    """Whether nothing can be heard in sound of these frame_powers."""
    return loudness_dbfs(powers) < SILENCE_DBFS


def speech_doubt(powers: np.ndarray) -> str | None:
    """Why sound of these frame_powers may be no speech, or None: its level is as steady as a hum's, which that of
    speech in loud music is too."""
    spread = float(np.subtract(*np.percentile(10 * np.log10(powers + 1e-12), [95, 5]))) if len(powers) else 0.0
    return f"sound of one level (within {spread:.1f} dB)" if spread < STEADY_DB else None


def speech_gain(powers: np.ndarray, blocks: Iterable[np.ndarray], hp: HParams = hparams) -> float:
    """Decibels by which quiet speech is to be raised for a network to hear it as in training; 0.0 for speech of usual
    level or louder, and for what has no voice in it.

    powers: frame_powers of the sound; blocks: the sound, float32 [n] of any length, read where it is quiet alone.
    A generator moves the mouth less the quieter the speech is; speech louder than SPEECH_DBFS does no harm.
    """
    if not len(powers):
        return 0.0
    usual = powers / max(float(powers.mean()), 1e-12)  # at any level
    if is_silent(usual) or speech_doubt(usual):
        return 0.0
    levels = 10 * np.log10(powers + 1e-12)
    loud = levels > np.percentile(levels, 95) - SPEECH_RANGE_DB
    level = loudness_dbfs(powers[loud])
    if level > SPEECH_DBFS - QUIET_DB or _voiced(blocks, hp)[loud].mean() < VOICED_SHARE:
        return 0.0
    return min(SPEECH_DBFS - level, MOST_RAISED_DB)


def amplified(wav: np.ndarray, decibels: float) -> np.ndarray:
    """Sound at another level; itself at 0.0."""
    return wav * np.float32(10 ** (decibels / 20)) if decibels else wav


def amplified_powers(powers: np.ndarray, decibels: float) -> np.ndarray:
    """The frame_powers of amplified sound."""
    return powers * np.float32(10 ** (decibels / 10)) if decibels else powers


def raised_in_words(decibels: float) -> list[str]:
    """What there is to say of speech_gain, none or one."""
    return [f"speech raised by {decibels:.0f} dB"] if decibels else []


def _voiced(blocks: Iterable[np.ndarray], hp: HParams) -> np.ndarray:
    """Which of the frame_powers of this sound have the period of a voice: bool [n]."""
    shortest, longest = (round(lag * hp.sample_rate) for lag in VOICED_LAGS)
    window = np.hanning(hp.win_size).astype(np.float32)
    count = 2 * hp.win_size  # of the transform, so that lags do not wrap around
    own = np.fft.irfft(np.abs(np.fft.rfft(window, count)) ** 2)[shortest : longest + 1]
    lowest = round(VOICED_FROM_HZ * count / hp.sample_rate)
    voiced = [np.zeros(0, bool)]
    for frames in _whole_frames(blocks, hp):
        emphasised = frames.copy()
        emphasised[:, 1:] -= hp.preemphasis * frames[:, :-1]
        spectra = np.abs(np.fft.rfft(emphasised * window, count)) ** 2
        spectra[:, :lowest] = 0
        correlation = np.fft.irfft(spectra)
        periodic = correlation[:, shortest : longest + 1] / own * np.square(window).sum()
        voiced.append(periodic.max(axis=1) > VOICED * correlation[:, 0])
    return np.concatenate(voiced)


def speech_frames(powers: np.ndarray) -> np.ndarray:
    """Which of these frame_powers are speech: not far below the loud ones, and no whisper of noise; bool [n]."""
    if not len(powers):
        return np.zeros(0, bool)
    levels = 10 * np.log10(powers + 1e-12)
    return levels > max(SPEECH_FLOOR_DBFS, np.percentile(levels, 95) - SPEECH_RANGE_DB)


def speech_share(powers: np.ndarray) -> float:
    """Share of these frame_powers that are speech."""
    return float(speech_frames(powers).mean()) if len(powers) else 0.0
