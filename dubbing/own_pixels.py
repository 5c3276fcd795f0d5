"""The person's own mouth in place of the generated one, from other moments of the video that is dubbed.

A small generator knows what a mouth does, but not this person's lips, teeth and beard. The video shows them. Of its
frames the lip-sync expert tells which fit the speech: its embedding of five frames of lips is close to that of the
sound. Of these one is taken whose head is turned alike, as a rule the frame after the last one, since the mouth then
moves as it was filmed. Its crop is warped onto the frame by what both show around the mouth: an affine map, and what is
smooth in the rest of the optical flow. The generator draws the bank's frames as well, with their own sound: half of the
difference between the two drawings, without detail, opens or closes the mouth a little more.

Frames whose surroundings do not fit after the warp keep the generated mouth. To choose a person's frames by the speech
is an old idea (Bregler, Covell and Slaney, Video Rewrite, SIGGRAPH 1997).
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from math import ceil
from typing import Any

import cv2
import numpy as np

import audio
from dubbing.faces import FaceRegions, read_cache, write_cache
from dubbing.networks import Networks
from dubbing.paste import upright_crop
from dubbing.record import ProgressBar
from dubbing.source import Source
from dubbing.stages import FaceTask, mixed
from face_detection.crop import mouth_mask, resized, to_network_size
from face_detection.find import resembles
from media.sound import read_audio
from metrics.sync import Expert, score_distances, window_distances
from utils.errors import InputError
from utils.files import cache_folder

FEWEST_FACES, MOST_FACES = 100, 1500  # frames to choose from: three seconds are too few, a minute is plenty
CACHE_FORMAT = "mouths 1"  # of what is kept for later dubs; a change forgets what there is
BLOCK = 50  # frames in a row that are kept or left out where the video has more
SLOWEST = 20.0  # frames a second; of slower videos five frames are not what the expert knows
LARGEST = 320  # pixels of both sides of a kept crop
TOP = 0.375  # of a crop; above it nothing is pasted, so nothing is kept
MASK = ((0.38, 0.25), 0.62)  # of mouth_mask: mouth and chin
# The path: weights of standard deviations of the expert's distances, of poses and of successive mouths
BY_SOUND, BY_POSE, BY_MOUTH = 2.0, 0.5, 1.0
FADED = 2  # frames over which one mouth is faded into another after a jump
JUMP = 1.5  # cost of not taking the next frame, besides that of a mouth unlike it
CANDIDATES = 20  # nearest frames that are considered for each frame
FAR = 10**9  # added to the frame numbers of another video, none of which is near one that is dubbed
TOO_NEAR = 0.5  # seconds around a frame, whose mouths say what the source says
# The warp, in pixels of the network's crop
STRAY = 1.5  # from which on a point does not belong to the affine map
MOST_MORE, SMOOTH = 3.0, 9.0  # how far the smooth rest may move, and its standard deviation
EDGE = 6.0  # over which a crop fades out towards its edge
SOFT, CORRECTED = 2.5, 0.5  # standard deviation of what is added from the drawings, and how much of it
FITS, MISFITS = 20.0, 30.0  # levels by which the surroundings differ: all of the mouth is taken, and none of it


@dataclass(frozen=True)
class MouthBank:
    """Frames of a video to take mouths from, at most 25 a second."""

    numbers: np.ndarray  # int [B], of the frames
    times: np.ndarray  # float [B], seconds
    faces: np.ndarray  # uint8 BGR [B, 96, 96, 3], as the generator takes them
    pictures: np.ndarray  # uint8 BGR [B, h, S, 3], the lower rows of crops of S pixels
    windows: np.ndarray  # float32 [B, D], embeddings of the five frames around each
    drawn: np.ndarray | None = None  # uint8 BGR [B, 96, 96, 3], as drawn with their own sound, where that fits


def collect(
    source: Source, regions: FaceRegions, seconds: float, expert: Expert, progress: ProgressBar
) -> MouthBank | None:
    """The bank of the first seconds of a video; None where they show too few faces."""
    heights = [region.rect.height for region in regions.regions if region]
    if source.still or float(source.opened.rate) < SLOWEST or len(heights) < FEWEST_FACES:
        return None
    fps, network_size, half = expert.hp.fps, expert.hp.img_size, expert.hp.img_size // 2
    size, step = int(np.clip(np.median(heights), network_size, LARGEST)), ceil(len(heights) / MOST_FACES)
    most_apart = ceil(fps / float(source.opened.rate))  # ticks from frame to frame
    numbers, times, faces, pictures = list[int](), list[float](), list[np.ndarray](), list[np.ndarray]()
    ticks, starts = list[int](), list[int]()  # 25ths of a second; rows at which a run of frames in one shot starts
    frames, total = source.iter_once(seconds), source.frames_once(seconds)
    for frame in progress(frames, desc="own mouths", unit="frame", total=total):
        region, tick = regions.at(frame.number), round(frame.time * fps)
        if region is None or region.interpolated or frame.number // BLOCK % step or tick in ticks[-1:]:
            continue
        crop = upright_crop(frame.picture, region)
        face = to_network_size(crop, network_size)
        if not faces or tick > ticks[-1] + most_apart or not resembles(face[:half], faces[-1][:half]):
            starts.append(len(faces))
        numbers.append(frame.number)
        times.append(frame.time)
        ticks.append(tick)
        faces.append(face)
        pictures.append(resized(crop, size, size)[int(TOP * size) :])
    if len(faces) < FEWEST_FACES:
        return None
    length, runs = expert.hp.window_frames, zip(starts, [*starts[1:], len(faces)], strict=True)
    first = np.concatenate([np.arange(start, max(start, end - length + 1)) for start, end in runs])
    small, middle = np.stack(faces), first + length // 2
    windows = _kept(source, (expert.fingerprint, small, first), lambda: expert.embed_faces(small, first))
    if len(middle) < FEWEST_FACES:
        return None
    kept = small[middle], np.stack([pictures[row] for row in middle])
    return MouthBank(np.array(numbers)[middle], np.array(times)[middle], *kept, windows)


def join(banks: list[MouthBank]) -> MouthBank:
    """One bank of several, at the first one's size."""
    (bank, *others), drawn = banks, [each.drawn for each in banks if each.drawn is not None]
    if not others:
        return bank
    height, size = bank.pictures.shape[1:3]
    pictures = [np.stack([resized(picture, size, height) for picture in other.pictures]) for other in others]
    return MouthBank(
        np.concatenate([each.numbers for each in banks]),
        np.concatenate([each.times for each in banks]),
        np.concatenate([each.faces for each in banks]),
        np.concatenate([bank.pictures, *pictures]),
        np.concatenate([each.windows for each in banks]),
        np.concatenate(drawn) if len(drawn) == len(banks) else None,
    )


def draw(bank: MouthBank, source: Source, networks: Networks, expert: Expert) -> np.ndarray | None:
    """The bank's faces as the generator draws them with their own sound: uint8 BGR [B, 96, 96, 3]; None without sound.
    Where the expert is sure that the sound is early or late, that is made up for."""
    if not (source.reader and source.reader.has_sound):
        return None
    hp = expert.hp
    try:
        wav = read_audio(source.path, hp.sample_rate, source.clock.zero)
    except InputError:
        return None
    mel = audio.melspectrogram(audio.raise_quiet_speech(wav, hp)[0], hp)
    times = np.rint(bank.times * hp.fps).astype(int) - hp.window_frames // 2
    sound = _kept(source, (expert.fingerprint, mel), lambda: expert.embed_mel(mel))
    score = score_distances(window_distances(bank.windows, times, sound))
    late = score.offset / hp.fps if score and score.measurable else 0.0
    starts = [audio.dub_mel_start(time + late, mel.shape[1], hp) for time in bank.times]
    mels = np.stack([mel[None, :, start : start + hp.mel_window] for start in starts])
    return _kept(source, (networks.sha256, bank.faces, mel, starts), lambda: networks.generator(bank.faces, mels))


def _kept(source: Source, made_from: tuple, make: Callable[[], np.ndarray]) -> np.ndarray:
    """What is made from these arrays and texts, or was in an earlier dub."""
    if source.options.no_cache:
        return make()
    digest = hashlib.sha256()
    for part in (CACHE_FORMAT, *made_from):
        digest.update(np.ascontiguousarray(part).tobytes())
    path = cache_folder("mouths") / f"{digest.hexdigest()}.npz"
    if (known := read_cache(path)) is None:
        known = {"made": make()}
        write_cache(path, **known)
    return known["made"]


class OwnPixels:
    """The stage after "generate". speech: float32 [F, D], the expert's embeddings of windows of the speech that start
    at frames 0 to F-1; used: how many faces it has changed."""

    def __init__(self, bank: MouthBank, speech: np.ndarray, expert: Expert, rate: float = 25.0) -> None:
        """rate: frames a second of the dubbed video."""
        self.bank, self.speech, self.fps, self.used = bank, speech, expert.hp.fps, 0
        self.lead = expert.hp.window_frames // 2
        self.poses = np.stack([_small(face, slice(0, 48), slice(0, 96)) for face in bank.faces])
        mouths = np.stack([_small(face, slice(48, 92), slice(16, 80)) for face in bank.faces])
        self.greys = [cv2.cvtColor(face, cv2.COLOR_BGR2GRAY) for face in bank.faces]
        some = slice(None, None, ceil(len(bank.faces) / 200))
        self.pose_unit = float(_distances(self.poses[some], self.poses).std()) + 1e-6
        self.apart = _distances(mouths, mouths)  # float32 [B, B]
        self.apart *= BY_MOUTH / (float(self.apart[some].std()) + 1e-6)
        self.sound_unit = float((speech[:: ceil(len(speech) / 200)] @ bank.windows.T).std()) + 1e-6
        self.too_near = TOO_NEAR * rate  # frames
        self._row: int | None = None  # of the last frame
        self._tick = 0  # of the last frame, in 25ths of a second
        self._old, self._weight = 0, 0.0  # row that is faded out, and how much of it is left
        self._flow = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)

    def __call__(self, faces: list[FaceTask]) -> None:
        for face, row in zip(faces, self._path(faces), strict=True):
            picture, inside, fit = self._warped(face, row)
            tick = round(face.frame.time * self.fps)
            step = int(tick > self._tick)  # 0 where two frames are shown in a 25th of a second
            if self._row is not None and row != min(self._row + step, len(self.poses) - 1):  # a jump
                self._old, self._weight = self._row, 1.0
            self._old = min(self._old + step, len(self.poses) - 1)
            self._weight = max(0.0, self._weight - 1 / (FADED + 1))
            if self._weight:
                other, other_inside, _ = self._warped(face, self._old)
                inside = np.minimum(inside, other_inside)
                picture = cv2.addWeighted(picture, 1 - self._weight, other, self._weight, 0)
            self._row, self._tick = row, tick
            if fit > 0:
                self.used += 1
                face.mask = face.mask * mouth_mask(len(face.mask), *MASK) * inside
                face.generated, face.own = mixed(face.generated, picture, fit), fit

    def _path(self, faces: list[FaceTask]) -> list[int]:
        """The rows of the bank for successive faces, at the least cost (Viterbi's algorithm)."""
        bank, last = self.bank, len(self.poses) - 1
        ticks = np.rint([face.frame.time * self.fps for face in faces]).astype(int)
        windows = np.clip(ticks - self.lead, 0, len(self.speech) - 1)
        poses = np.stack([_small(face.source_face, slice(0, 48), slice(0, 96)) for face in faces])
        costs = BY_POSE / self.pose_unit * _distances(poses, self.poses)
        costs -= BY_SOUND / self.sound_unit * self.speech[windows] @ bank.windows.T
        numbers = np.array([face.frame.number for face in faces])
        costs[np.abs(numbers[:, None] - bank.numbers) <= self.too_near] = np.inf
        kept: list[np.ndarray] = []  # rows that are considered, for each face
        back: list[np.ndarray] = []
        total, rows = np.zeros(1), np.array([-1 if self._row is None else self._row])
        for step, cost in zip(np.diff(ticks, prepend=self._tick) > 0, costs, strict=True):
            following = np.clip(rows + step, 0, last)
            some = np.unique(np.concatenate([np.argsort(cost)[:CANDIDATES], following]))
            jumps = JUMP + self.apart[following[:, None], some]
            sums = total[:, None] + np.where((some == following[:, None]) | (rows[:, None] < 0), 0, jumps)
            back.append(sums.argmin(axis=0))
            total, rows = sums.min(axis=0) + np.minimum(cost[some], 1e6), some
            kept.append(some)
        place, path = int(total.argmin()), list[int]()
        for some, came in zip(reversed(kept), reversed(back), strict=True):
            path.append(int(some[place]))
            place = int(came[place])
        return path[::-1]

    def _warped(self, face: FaceTask, row: int) -> tuple[np.ndarray, np.ndarray, float]:
        """The bank's picture of a row on the face, uint8 BGR [S, S, 3] (its upper rows mean nothing); where it does not
        reach beyond the bank's crop, float32 [96, 96], 0..1; and how much of it to show, 0..1."""
        grey = cv2.cvtColor(face.source_face, cv2.COLOR_BGR2GRAY)
        flow, misfit = self._map(grey, self.greys[row])
        fit = float(np.clip((MISFITS - misfit) / (MISFITS - FITS), 0, 1))
        picture = self.bank.pictures[row]
        size = picture.shape[1]
        top, scale = size - len(picture), size / len(grey)
        large = cv2.resize(flow, (size, size), interpolation=cv2.INTER_LINEAR) * scale
        y, x = np.mgrid[top:size, :size].astype(np.float32) + np.moveaxis(large[top:, :, ::-1], 2, 0)
        warped = np.zeros((size, size, 3), np.uint8)
        warped[top:] = cv2.remap(picture, x, y - top, cv2.INTER_LANCZOS4, borderMode=cv2.BORDER_REPLICATE)
        if self.bank.drawn is not None and len(face.generated) == len(grey):
            drawn = _remapped(self.bank.drawn[row], flow)
            change = CORRECTED * (face.generated.astype(np.float32) - drawn).mean(axis=2)
            change = cv2.resize(cv2.GaussianBlur(change, (0, 0), SOFT), (size, size))
            warped = np.clip(np.rint(warped + change[..., None]), 0, 255).astype(np.uint8)
        return warped, _inside(flow), fit

    def _map(self, grey: np.ndarray, other: np.ndarray) -> tuple[np.ndarray, float]:
        """Where each pixel of a face, uint8 [96, 96], lies in another one: displacements float32 [96, 96, 2], by what
        both show around the mouth; and by how many levels they differ there after the warp."""
        size, around = len(grey), _surroundings(len(grey))
        flow = self._flow.calc(grey, other, np.zeros((size, size, 2), np.float32))
        places = np.argwhere(around[::3, ::3] > 0)[:, ::-1] * 3  # x, y
        moved = (places + flow[places[:, 1], places[:, 0]]).astype(np.float32)
        found: Any = cv2.estimateAffine2D(places.astype(np.float32), moved, ransacReprojThreshold=STRAY)
        if (matrix := found[0]) is None:  # of a flat picture
            return flow, np.inf
        x, y = np.meshgrid(np.arange(size), np.arange(size))
        affine = (np.stack([x, y, np.ones_like(x)], axis=2) @ matrix.T - np.stack([x, y], axis=2)).astype(np.float32)
        rest = flow - affine
        weight = around * np.exp(-np.square(np.linalg.norm(rest, axis=2) / MOST_MORE))
        rest = np.clip(rest, -MOST_MORE, MOST_MORE) * weight[..., None]
        affine += cv2.GaussianBlur(rest, (0, 0), SMOOTH) / (cv2.GaussianBlur(weight, (0, 0), SMOOTH) + 0.02)[..., None]
        differ = np.abs(_remapped(other, affine).astype(np.float32) - grey)
        return affine, float(np.average(differ, weights=around))

    def record(self) -> dict[str, Any]:
        """What the dub's record says of it."""
        return {"frames": len(self.poses), "used": self.used, "corrected": self.bank.drawn is not None}


def _small(face: np.ndarray, rows: slice, columns: slice) -> np.ndarray:
    """Levels of grey of a part of a face, uint8 BGR, reduced to a quarter: float32 [n]."""
    grey = cv2.cvtColor(np.ascontiguousarray(face[rows, columns]), cv2.COLOR_BGR2GRAY)
    reduced = cv2.resize(grey, None, fx=0.25, fy=0.25, interpolation=cv2.INTER_AREA)
    return cv2.GaussianBlur(reduced, (0, 0), 0.8).astype(np.float32).ravel()


def _distances(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Root mean square differences of rows [N, D] and [M, D]: float32 [N, M]."""
    squares = np.square(a).sum(axis=1)[:, None] + np.square(b).sum(axis=1) - 2 * a @ b.T
    return np.sqrt(np.maximum(squares, 0) / a.shape[1])


@lru_cache
def _surroundings(size: int) -> np.ndarray:
    """What is compared of two crops: eyes, nose and cheeks, not the mouth. float32 [size, size], 0 or 1."""
    around = np.zeros((size, size), np.float32)
    around[int(0.12 * size) : int(0.62 * size), int(0.1 * size) : int(0.9 * size)] = 1
    cheeks = around[int(0.62 * size) : int(0.8 * size)]
    cheeks[:, int(0.06 * size) : int(0.2 * size)] = cheeks[:, int(0.8 * size) : int(0.94 * size)] = 1
    return around


def _inside(flow: np.ndarray) -> np.ndarray:
    """Where a warp by displacements [S, S, 2] stays inside the picture: float32 [S, S], 0..1, with soft edges."""
    y, x = np.mgrid[: len(flow), : len(flow)]
    edge = np.minimum.reduce(
        [x + flow[..., 0], y + flow[..., 1], *(len(flow) - 1 - np.stack([x, y]) - np.moveaxis(flow, 2, 0))]
    )
    return np.clip(edge / EDGE, 0, 1).astype(np.float32)


def _remapped(picture: np.ndarray, flow: np.ndarray) -> np.ndarray:
    x, y = np.meshgrid(np.arange(flow.shape[1], dtype=np.float32), np.arange(flow.shape[0], dtype=np.float32))
    return cv2.remap(picture, x + flow[..., 0], y + flow[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
