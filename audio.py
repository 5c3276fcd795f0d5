"""Speech to mel spectrogram, and which mel columns belong to which video frame.

The mel spectrogram is the published one (Wav2Lip, ACM MM 2020): 16 kHz mono, pre-emphasis, a centred STFT with
reflect padding, 80 Slaney mel bands, decibels mapped linearly to -4..4; 80 columns a second.

    frames      0     1     2     3     4          at 25 fps
    mel columns 0.....3.....6.....9.....12...16    window of frame 0: columns 0 to 15

In training, frame j is shown with the mel that starts one frame earlier, at int(80·(j-1)/25), so that its own
moment lies inside the 16 columns.
"""

from functools import lru_cache
from pathlib import Path

import numpy as np
import soundfile
from numpy.lib.stride_tricks import sliding_window_view

from hparams import HParams, hparams
from media.sound import read_audio
from utils.files import system_name

MEL_BLOCK = 4096  # columns transformed at once, which bounds the memory of a long recording
FRAME_BLOCK = 1024  # frames of 50 ms transformed at once, likewise
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
    for first in range(0, columns, MEL_BLOCK):
        last = min(first + MEL_BLOCK, columns)
        mel[:, first:last] = _mel_columns(padded[first * hp.hop_size : (last - 1) * hp.hop_size + hp.n_fft], hp)
    return mel


class MelStream:
    """The mel spectrogram of speech that is still coming in: the same columns as melspectrogram() gives for all of it,
    each as soon as half a window (25 ms) of the sound after its middle is there."""

    def __init__(self, hp: HParams = hparams) -> None:
        self.hp, self._begun, self._last = hp, False, np.float32(0)
        self._kept = np.zeros(0, np.float32)  # with pre-emphasis, from where the next column's window starts

    def add(self, wav: np.ndarray) -> np.ndarray:
        """wav: float [samples], any number, in -1..1. Returns the new columns, float32 [num_mels, columns]."""
        hp = self.hp
        if not len(wav):
            return np.zeros((hp.num_mels, 0), np.float32)
        samples = np.concatenate([[self._last], wav]).astype(np.float32)
        kept, self._last = np.concatenate([self._kept, samples[1:] - hp.preemphasis * samples[:-1]]), samples[-1]
        if not self._begun and len(kept) > hp.n_fft // 2:
            kept, self._begun = np.pad(kept, (hp.n_fft // 2, 0), mode="reflect"), True
        columns = max(0, (len(kept) - hp.n_fft) // hp.hop_size + 1) if self._begun else 0
        self._kept = kept[columns * hp.hop_size :]
        if not columns:
            return np.zeros((hp.num_mels, 0), np.float32)
        return _mel_columns(kept[: (columns - 1) * hp.hop_size + hp.n_fft], hp)


def _mel_columns(block: np.ndarray, hp: HParams) -> np.ndarray:
    """All columns whose windows lie in the block, which has pre-emphasis: float32 [num_mels, columns]."""
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(hp.win_size) / hp.win_size)  # periodic
    before = (hp.n_fft - hp.win_size) // 2
    window = np.pad(hann, (before, hp.n_fft - hp.win_size - before)).astype(np.float32)
    frames = sliding_window_view(block, hp.n_fft)[:: hp.hop_size]  # [columns, n_fft]
    spectrum = np.abs(np.fft.rfft(frames * window)).T  # [n_fft / 2 + 1, columns]
    return _normalised_db(_mel_basis(hp) @ spectrum, hp)


@lru_cache
def _mel_basis(hp: HParams) -> np.ndarray:
    """The mel bands that librosa makes by default (its import takes a second): triangles of equal area on Slaney's
    scale; float32 [num_mels, n_fft / 2 + 1]."""
    mels = np.linspace(_to_mel(hp.fmin), _to_mel(hp.fmax), hp.num_mels + 2)[:, None]
    above = mels - LINEAR_BELOW / MEL_HZ
    edges = np.where(above < 0, mels * MEL_HZ, LINEAR_BELOW * np.exp(np.maximum(above, 0) * MEL_LOG_STEP))  # Hz
    lowest, middle, highest = edges[:-2], edges[1:-1], edges[2:]
    frequencies = np.fft.rfftfreq(hp.n_fft, 1 / hp.sample_rate)
    rising, falling = (frequencies - lowest) / (middle - lowest), (highest - frequencies) / (highest - middle)
    triangles = np.maximum(0, np.minimum(rising, falling))
    return (triangles * 2 / (highest - lowest)).astype(np.float32)


def _to_mel(hz: float) -> float:
    return hz / MEL_HZ if hz < LINEAR_BELOW else LINEAR_BELOW / MEL_HZ + np.log(hz / LINEAR_BELOW) / MEL_LOG_STEP


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
    """Of a time in seconds."""
    return int(hp.mel_columns_per_second * time + 1e-6)  # 1e-6: a time such as 1.4 is stored a hair low


def dub_mel_start(time: float, columns: int, hp: HParams = hparams, published: bool = False) -> int:
    """First mel column for a dubbed frame shown `time` seconds after the speech starts.

    columns: length of the mel spectrogram, within which the start is kept. The mel starts one training frame before the
    picture, as in training; `published` leaves that out, as the published inference does: the lips are 40 ms early.
    """
    lead = 0.0 if published else 1.0 / hp.fps
    return max(0, min(mel_column(time - lead, hp), columns - hp.mel_window))


def frame_powers(wav: np.ndarray, hp: HParams = hparams) -> np.ndarray:
    """Mean square of every whole 50 ms of sound, float32 [n]."""
    return np.square(_frames(wav, hp)).mean(axis=1)


def _frames(wav: np.ndarray, hp: HParams) -> np.ndarray:
    """A view of the sound in whole frames of 50 ms: [n, win_size]."""
    return wav[: len(wav) // hp.win_size * hp.win_size].reshape(-1, hp.win_size)


def _decibels(powers: np.ndarray) -> np.ndarray:
    return 10 * np.log10(powers + 1e-12)


def loudness_dbfs(powers: np.ndarray) -> float:
    """Root-mean-square level in dB below full scale; -120 at the lowest."""
    return 10 * float(np.log10(np.mean(powers) + 1e-12)) if len(powers) else -120.0


def is_silent(powers: np.ndarray) -> bool:
    """Whether nothing can be heard in sound of these frame_powers."""
    return loudness_dbfs(powers) < SILENCE_DBFS


def speech_doubt(powers: np.ndarray) -> str | None:
    """Why sound of these frame_powers may not be speech, or None: its level is constant, like that of a hum, or of
    loud music with speech in it."""
    spread = float(np.subtract(*np.percentile(_decibels(powers), [95, 5]))) if len(powers) else 0.0
    return f"sound of one level (within {spread:.1f} dB)" if spread < STEADY_DB else None


def speech_frames(powers: np.ndarray) -> np.ndarray:
    """Which of these frame_powers are speech: near the loud ones, and above faint noise; bool [n]."""
    if not len(powers):
        return np.zeros(0, bool)
    levels = _decibels(powers)
    return levels > max(SPEECH_FLOOR_DBFS, np.percentile(levels, 95) - SPEECH_RANGE_DB)


def speech_share(powers: np.ndarray) -> float:
    """Share of these frame_powers that are speech."""
    return float(speech_frames(powers).mean()) if len(powers) else 0.0


def speech_gain(wav: np.ndarray, hp: HParams = hparams) -> float:
    """Decibels that bring quiet speech to the level of the training; 0.0 for speech of usual level or louder, and for
    sound without a voice. wav: float32 [samples].

    The generator moves the mouth less the quieter the speech is; speech louder than SPEECH_DBFS does no harm.
    """
    powers = frame_powers(wav, hp)
    if not powers.any() or speech_doubt(powers / powers.mean()):
        return 0.0
    levels = _decibels(powers)
    loud = levels > np.percentile(levels, 95) - SPEECH_RANGE_DB
    level = loudness_dbfs(powers[loud])
    if level > SPEECH_DBFS - QUIET_DB or _voiced(wav, hp)[loud].mean() < VOICED_SHARE:
        return 0.0
    return min(SPEECH_DBFS - level, MOST_RAISED_DB)


def raise_quiet_speech(wav: np.ndarray, hp: HParams = hparams) -> tuple[np.ndarray, float]:
    """The sound as the networks hear it, and the decibels by which it was raised; unchanged where that is 0."""
    gain = speech_gain(wav, hp)
    return (wav * np.float32(10 ** (gain / 20)) if gain else wav), gain


def raised_notice(gain: float) -> list[str]:
    """The finding about raised speech, if it was raised."""
    return [f"speech raised by {gain:.0f} dB"] if gain else []


def _voiced(wav: np.ndarray, hp: HParams) -> np.ndarray:
    """Which 50 ms of this sound repeat with the period of a voice: bool [n]."""
    shortest, longest = (round(lag * hp.sample_rate) for lag in VOICED_LAGS)
    window = np.hanning(hp.win_size).astype(np.float32)
    size = 2 * hp.win_size  # of the transform, so that lags do not wrap around
    own = np.fft.irfft(np.abs(np.fft.rfft(window, size)) ** 2)[shortest : longest + 1]
    lowest = round(VOICED_FROM_HZ * size / hp.sample_rate)
    frames, voiced = _frames(wav, hp), [np.zeros(0, bool)]
    for first in range(0, len(frames), FRAME_BLOCK):
        emphasised = frames[first : first + FRAME_BLOCK].copy()
        emphasised[:, 1:] -= hp.preemphasis * frames[first : first + FRAME_BLOCK, :-1]
        spectra = np.abs(np.fft.rfft(emphasised * window, size)) ** 2
        spectra[:, :lowest] = 0
        correlation = np.fft.irfft(spectra)
        periodic = correlation[:, shortest : longest + 1] / own * np.square(window).sum()
        voiced.append(periodic.max(axis=1) > VOICED * correlation[:, 0])
    return np.concatenate(voiced)
