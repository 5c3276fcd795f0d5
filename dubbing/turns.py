"""Who speaks when: of several faces the one whose lips fit the video's own sound, as the lip-sync expert sees it.

Every window of five frames lies at some distance from the sound that belongs to it. How much closer that is than at
other shifts says how well this face fits right now. The turns are the path through the frames, from nobody to a person
and to the next, that fits best in all (Viterbi's algorithm), where each change costs something.
"""

from collections.abc import Sequence

import cv2
import numpy as np

from dubbing.faces import FaceRegions
from dubbing.paste import upright_crop
from dubbing.record import ProgressBar
from dubbing.source import Source
from dubbing.speech import own_mel
from dubbing.stages import SyncMonitor
from face_detection.crop import to_network_size
from metrics.sync import MAX_SHIFT, NEIGHBOURS, Expert
from utils.errors import InputError

SMOOTH = 25  # windows over which the fit is averaged: one second
FITS = 0.15  # how much closer to the sound than on average a face that speaks lies
CHANGE = 4.0  # what a change costs, in frames of perfect fit
NOBODY = 0


def speakers(
    source: Source, people: Sequence[FaceRegions], seconds: float, expert: Expert, progress: ProgressBar
) -> np.ndarray:
    """Who speaks in the frames of one play: int [T], the number of the person from 1, or NOBODY where that is unsure.
    Raises InputError where the video has no sound."""
    if not (source.reader and source.reader.has_sound):
        raise InputError(f"--speaking_only: {source.path} has no sound, which tells who speaks")
    hp = expert.hp
    sound = expert.embed_mel(own_mel(source, hp))
    monitors, ticks = [SyncMonitor(expert, sound) for _ in people], list[int]()
    frames, total = source.iter_once(seconds), source.frames_once(seconds)
    for frame in progress(frames, desc="turns", unit="frame", total=total):
        ticks.append(round(frame.time * hp.fps))
        for faces, monitor in zip(people, monitors, strict=True):
            region = faces.at(frame.number)
            crop = upright_crop(frame.picture, region) if region else None
            monitor.add(frame, None if crop is None else to_network_size(crop, hp.img_size))
    times, distances = zip(*(monitor.distances() for monitor in monitors), strict=True)
    gains = fits(times, distances, ticks[-1] + 1, hp.window_frames // 2)
    return turns(gains)[ticks]


def fits(times: Sequence[np.ndarray], distances: Sequence[np.ndarray], count: int, lead: int) -> np.ndarray:
    """How well each face fits the sound in each of `count` frames, at the shift at which all faces fit best: float32
    [N, count], 0 on average and where nothing is known. times: int [W], of each face's windows; distances: [W, 31]
    of each; lead: frames from a window's start to its middle."""
    gains, compared = np.zeros((len(times), count), np.float32), np.concatenate(distances)
    compared = compared[np.isfinite(compared).all(axis=1)]
    if not len(compared):
        return gains
    best = int(compared.mean(axis=0).argmin())
    far = np.abs(np.arange(2 * MAX_SHIFT + 1) - best) > NEIGHBOURS
    for row, starts, found in zip(gains, times, distances, strict=True):
        used = np.isfinite(found[:, best]) & (starts + lead < count)
        row[starts[used] + lead] = np.nanmean(found[used][:, far], axis=1) - found[used, best]
    return cv2.blur(gains, (SMOOTH, 1), borderType=cv2.BORDER_REPLICATE)


def turns(gains: np.ndarray) -> np.ndarray:
    """The best path through gains, float32 [N, T]: int [T], numbers from 1, or NOBODY."""
    scores = np.concatenate([np.zeros((1, gains.shape[1])), gains - FITS])
    total, back = scores[:, 0], [np.arange(len(scores))]
    for score in scores.T[1:]:
        best = int(total.argmax())
        stays = total >= total[best] - CHANGE
        back.append(np.where(stays, np.arange(len(scores)), best))
        total = np.where(stays, total, total[best] - CHANGE) + score
    path = [int(total.argmax())]
    for came in reversed(back[1:]):
        path.append(int(came[path[-1]]))
    return np.array(path[::-1])
