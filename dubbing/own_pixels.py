"""The person's own mouth in place of the generated one, from other moments of the video that is dubbed.

A small generator knows what a mouth does, but not this person's lips, teeth and beard. The video shows them. Of its
frames the lip-sync expert tells which fit the speech: its embedding of five frames of lips is close to that of the
sound. Of these one is taken whose head is turned alike, as a rule the frame after the last one, since the mouth then
moves as it was filmed. Its crop is warped onto the frame by what both show around the mouth: an affine map, and what is
smooth in the rest of the optical flow; and it is brought into the frame's light. The generator draws the bank's frames
as well, with their own sound: half of the difference between the two drawings, without detail, opens or closes the
mouth a little more.

Frames whose surroundings do not fit after the warp keep the generated mouth. To choose a person's frames by the speech
is an old idea (Bregler, Covell and Slaney, Video Rewrite, SIGGRAPH 1997).
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
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
from dubbing.speech import own_mel
from dubbing.stages import FaceTask, mixed
from face_detection.crop import mouth_mask, shrink, to_network_size
from face_detection.find import resembles
from metrics.sync import Expert, score_distances, window_distances
from utils.errors import InputError
from utils.files import cache_folder, keep_newest

FEWEST_FACES, MOST_FACES = 100, 1500  # frames to choose from: three seconds are too few, a minute is plenty
CACHE_FORMAT = 3  # of what is kept for later dubs; a change forgets what there is
MOST_KEPT = 2_000_000_000  # bytes of what is kept, in all; a minute takes up to 100 MB
BLOCK = 50  # frames in a row that are kept or left out where the video has more
SLOWEST = 20.0  # frames a second; of slower videos five frames are not what the expert knows
TALKING = 0.45  # mean distance between a bank's windows: of people who talk 0.6 to 0.75, of silent ones less than this
LARGEST = 512  # pixels of the height of a kept crop
# Of a crop: above PASTED nothing is shown or compared; what is above KEPT lies too far from it
PASTED, KEPT = 0.48, 0.375
JPEG = (
    cv2.IMWRITE_JPEG_QUALITY, 97,
    cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444,
)  # fmt: skip
MASK = ((0.38, 0.25), 0.62)  # of mouth_mask: mouth and chin
# The path: weights of standard deviations of the expert's distances, of poses and of successive mouths
BY_SOUND, BY_POSE, BY_MOUTH = 2.0, 0.5, 1.0
LIGHT = 0.15  # difference of two lights, as of _light, that costs 1: mouths filmed in another light come last
MOST_GAIN = 2.0  # by which a mouth is brought into the light of the frame, in each colour
FADED = 2  # frames over which one mouth is faded into another after a jump
NONE = -1  # instead of a row of the bank
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
    pictures: list[np.ndarray]  # B JPEG files, uint8 [bytes]: rows from KEPT on of the crops, in the video's pixels
    heights: np.ndarray  # int [B], of these crops
    windows: np.ndarray  # float32 [B, D], embeddings of the five frames around each
    drawn: np.ndarray | None = None  # uint8 grey [B, 96, 96], as drawn with their own sound, where that fits

    @property
    def talks(self) -> bool:
        """Whether the mouth moves as in speech; from one that does not, nothing can be chosen."""
        return 1 - float(np.square(self.windows.mean(axis=0)).sum()) > TALKING

    def picture(self, row: int) -> np.ndarray:
        """uint8 BGR [h, w, 3], the lower rows of a crop."""
        return np.asarray(cv2.imdecode(self.pictures[row], cv2.IMREAD_COLOR))


def long_enough(source: Source, expert: Expert) -> bool:
    """Whether a video can have the frames for a bank, if it shows a face in all of them."""
    slow = float(source.opened.rate) < SLOWEST
    return not (source.still or slow) and source.play_seconds * expert.hp.fps >= FEWEST_FACES


def collect(
    source: Source, regions: FaceRegions, seconds: float, expert: Expert, progress: ProgressBar
) -> MouthBank | None:
    """The bank of the first seconds of a video; None where they show too few faces."""
    shown = sum(region is not None for region in regions.regions)
    if not long_enough(source, expert) or shown < FEWEST_FACES:
        return None
    parts = (regions.key, repr(regions.regions), expert.fingerprint)
    kept = _kept(parts, lambda: _collect(source, regions, seconds, expert, progress))
    if len(kept["numbers"]) < FEWEST_FACES:
        return None
    files, ends = kept.pop("files"), kept.pop("ends")
    return MouthBank(pictures=np.split(files, ends[:-1]), **kept)


def _collect(
    source: Source, regions: FaceRegions, seconds: float, expert: Expert, progress: ProgressBar
) -> dict[str, np.ndarray]:
    """A bank's arrays; files: its pictures, one after the other, uint8; ends: where in it each ends."""
    fps, network_size, half = expert.hp.fps, expert.hp.img_size, expert.hp.img_size // 2
    step = ceil(sum(region is not None for region in regions.regions) / MOST_FACES)
    most_apart = ceil(fps / float(source.opened.rate))  # ticks from frame to frame
    shown, faces = list[tuple](), list[np.ndarray]()  # numbers, times, heights and files of frames; network's crops
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
        ticks.append(tick)
        faces.append(face)
        crop = shrink(crop, LARGEST)[0]
        file = cv2.imencode(".jpg", crop[int(KEPT * len(crop)) :], JPEG)[1]
        shown.append((frame.number, frame.time, len(crop), file))
    length, runs = expert.hp.window_frames, pairwise([*starts, len(faces)])
    first = [row for start, end in runs for row in range(start, end - length + 1)]  # of five frames of one shot
    if len(first) < FEWEST_FACES:
        return {"numbers": np.arange(0)}
    middle = np.array(first) + length // 2
    numbers, times, heights, files = zip(*(shown[row] for row in middle), strict=True)
    return {
        "numbers": np.array(numbers), "times": np.array(times), "faces": np.stack(faces)[middle],
        "files": np.concatenate(files), "ends": np.cumsum([len(file) for file in files]),
        "heights": np.array(heights), "windows": expert.embed_faces(np.stack(faces), np.array(first)),
    }  # fmt: skip


def join(banks: list[MouthBank]) -> MouthBank:
    """One bank of several."""
    (bank, *others), drawn = banks, [each.drawn for each in banks if each.drawn is not None]
    if not others:
        return bank
    return MouthBank(
        np.concatenate([each.numbers for each in banks]),
        np.concatenate([each.times for each in banks]),
        np.concatenate([each.faces for each in banks]),
        [picture for each in banks for picture in each.pictures],
        np.concatenate([each.heights for each in banks]),
        np.concatenate([each.windows for each in banks]),
        np.concatenate(drawn) if len(drawn) == len(banks) else None,
    )


def draw(
    bank: MouthBank, source: Source, regions: FaceRegions, networks: Networks, expert: Expert
) -> np.ndarray | None:
    """The bank's faces as the generator draws them with their own sound: uint8 grey [B, 96, 96]; None without sound."""
    if not (source.reader and source.reader.has_sound):
        return None
    parts = (regions.key, repr(regions.regions), expert.fingerprint, networks.sha256)
    return _kept(parts, lambda: _draw(bank, source, networks, expert)).get("drawn")


def _draw(bank: MouthBank, source: Source, networks: Networks, expert: Expert) -> dict[str, np.ndarray]:
    """drawn, where the sound can be read. Where the expert is sure that it is early or late, that is made up for."""
    hp = expert.hp
    try:
        mel = own_mel(source, hp)
    except InputError:
        return {}
    times = np.rint(bank.times * hp.fps).astype(int) - hp.window_frames // 2
    score = score_distances(window_distances(bank.windows, times, expert.embed_mel(mel)))
    late = score.offset / hp.fps if score and score.measurable else 0.0
    starts = [audio.dub_mel_start(time + late, mel.shape[1], hp) for time in bank.times]
    mels = np.stack([mel[None, :, start : start + hp.mel_window] for start in starts])
    return {"drawn": np.rint(networks.generator(bank.faces, mels).mean(axis=3)).astype(np.uint8)}


def _kept(made_from: tuple[str, ...], make: Callable[[], dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """What is made from the video of this key and these settings, or was in an earlier dub; no key: it is not kept."""
    if not made_from[0]:
        return make()
    digest = hashlib.sha256(repr((CACHE_FORMAT, made_from)).encode()).hexdigest()
    path = cache_folder("mouths") / f"{digest}.mouths"
    if (known := read_cache(path)) is None:
        known = make()
        write_cache(path, **known)
        keep_newest(path.parent, MOST_KEPT)
    else:
        path.touch()
    return known


class OwnPixels:
    """The stage after "generate". speech: float32 [F, D], the expert's embeddings of windows of the speech that start
    at frames 0 to F-1, or [1, D], of the window around the next frame; used: how many faces it has changed."""

    def __init__(self, bank: MouthBank, speech: np.ndarray, expert: Expert, rate: float = 25.0) -> None:
        """rate: frames a second of the dubbed video."""
        self.bank, self.speech, self.fps, self.used = bank, speech, expert.hp.fps, 0
        self.lead = expert.hp.window_frames // 2
        self.poses = np.stack([_small(face, slice(0, 48), slice(0, 96)) for face in bank.faces])
        mouths = np.stack([_small(face, slice(48, 92), slice(16, 80)) for face in bank.faces])
        self.greys = [cv2.cvtColor(face, cv2.COLOR_BGR2GRAY) for face in bank.faces]
        self.lights = np.stack([_light(face) for face in bank.faces])
        some = slice(None, None, ceil(len(bank.faces) / 200))
        self.pose_unit = float(_distances(self.poses[some], self.poses).std()) + 1e-6
        self.apart = _distances(mouths, mouths)  # float32 [B, B]
        self.apart *= BY_MOUTH / (float(self.apart[some].std()) + 1e-6)
        self.sound_unit = float((speech[:: ceil(len(speech) / 200)] @ bank.windows.T).std()) + 1e-6
        self.too_near = TOO_NEAR * rate  # frames
        self._row = NONE  # of the last frame
        self._tick = 0  # of the last frame, in 25ths of a second
        self._flow = np.zeros(0)  # of the last frame
        self._old, self._weight = 0, 0.0  # row that is faded out, and how much of it is left
        self._optical_flow = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)

    def __call__(self, faces: list[FaceTask]) -> None:
        ticks = np.rint([face.frame.time * self.fps for face in faces]).astype(int)  # 25ths of a second
        steps = np.diff(ticks, prepend=self._tick) > 0  # not where two frames are shown in one of them
        rows = self._path(faces, ticks, steps)
        followed = [self._after(row, step) for row, step in zip([self._row, *rows[:-1]], steps, strict=True)]
        jumps = [row != other for row, other in zip(rows, followed, strict=True)]
        flows, fits = self._maps(faces, rows, jumps)
        for face, row, step, jump, flow, fit in zip(faces, rows, steps, jumps, flows, fits, strict=True):
            picture, inside = self._warped(face, row, flow)
            if jump and self._row >= 0:
                self._old, self._weight = self._row, 1.0
            self._old = self._after(self._old, step)
            self._weight = max(0.0, self._weight - 1 / (FADED + 1))
            if self._weight:
                other, other_inside = self._warped(face, self._old, self._map(face, self._old)[0])
                inside = np.minimum(inside, other_inside)
                picture = cv2.addWeighted(picture, 1 - self._weight, other, self._weight, 0)
            self._row = row
            if fit > 0:
                self.used += 1
                face.mask = face.mask * mouth_mask(len(face.mask), *MASK) * inside
                face.generated, face.own = mixed(face.generated, picture, fit), fit
        self._tick, self._flow = ticks[-1], flows[-1]

    def _after(self, row: int, step: bool) -> int:
        """The row that comes next; NONE after NONE."""
        return NONE if row == NONE else min(row + int(step), len(self.poses) - 1)

    def _path(self, faces: list[FaceTask], ticks: np.ndarray, steps: np.ndarray) -> list[int]:
        """The rows of the bank for successive faces, at the least cost (Viterbi's algorithm)."""
        bank, last = self.bank, len(self.poses) - 1
        windows = np.clip(ticks - self.lead, 0, len(self.speech) - 1)
        poses = np.stack([_small(face.source_face, slice(0, 48), slice(0, 96)) for face in faces])
        costs = BY_POSE / self.pose_unit * _distances(poses, self.poses)
        lights = np.stack([_light(face.source_face) for face in faces])
        costs += np.square(_distances(lights, self.lights) / LIGHT)
        costs -= BY_SOUND / self.sound_unit * self.speech[windows] @ bank.windows.T
        numbers = np.array([face.frame.number for face in faces])
        costs[np.abs(numbers[:, None] - bank.numbers) <= self.too_near] = np.inf
        kept: list[np.ndarray] = []  # rows that are considered, for each face
        back: list[np.ndarray] = []
        total, rows = np.zeros(1), np.array([self._row])
        for step, cost in zip(steps, costs, strict=True):
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

    def _maps(self, faces: list[FaceTask], rows: list[int], jumps: list[bool]) -> tuple[list[np.ndarray], list[float]]:
        """The maps of successive faces to the bank's, and how much of the bank's to show, 0..1. A map trembles from
        frame to frame: within a run each is averaged with its neighbours."""
        found = [self._map(face, row) for face, row in zip(faces, rows, strict=True)]
        flows, smooth = [self._flow, *(flow for flow, _ in found)], list[np.ndarray]()
        for n, (flow, _) in enumerate(found):
            before = flow if jumps[n] else flows[n]
            after = flow if [*jumps, True][n + 1] else flows[n + 2]
            smooth.append((before + 2 * flow + after) / 4)
        return smooth, [float(np.clip((MISFITS - misfit) / (MISFITS - FITS), 0, 1)) for _, misfit in found]

    def _warped(self, face: FaceTask, row: int, flow: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The bank's picture of a row on the face, in the frame's own pixels, uint8 BGR [h, w, 3] (its upper rows mean
        nothing), and where it does not reach beyond the bank's crop, float32 [96, 96], 0..1. flow: as of _map."""
        picture, height, rect = self.bank.picture(row), self.bank.heights[row], face.region.rect
        top, size = int(PASTED * rect.height), np.array([picture.shape[1], height], np.float32)
        places = cv2.resize(_grid(len(flow)) + flow, (rect.width, rect.height))[top:]
        places = (places + 0.5) * (size / len(flow)) - 0.5
        x, y = places[..., 0], places[..., 1] - int(KEPT * height)
        warped = np.zeros((rect.height, rect.width, 3), np.uint8)
        gains = np.exp(_light(face.source_face) - self.lights[row]).clip(1 / MOST_GAIN, MOST_GAIN)
        by_channel: Any = (*gains.tolist(), 0.0)
        picture = cv2.multiply(picture, by_channel)
        warped[top:] = cv2.remap(picture, x, y, cv2.INTER_LANCZOS4, borderMode=cv2.BORDER_REPLICATE)
        if self.bank.drawn is not None and len(face.generated) == len(flow):
            change = CORRECTED * (face.generated.mean(axis=2, dtype=np.float32) - _remapped(self.bank.drawn[row], flow))
            change = cv2.resize(cv2.GaussianBlur(change, (0, 0), SOFT), (rect.width, rect.height))
            warped[:] = cv2.add(warped, cv2.merge([change] * 3), dtype=cv2.CV_8U)
        return warped, _inside(flow)

    def _map(self, face: FaceTask, row: int) -> tuple[np.ndarray, float]:
        """Where each pixel of a face lies in the bank's of a row: displacements float32 [96, 96, 2], by what both show
        around the mouth; and by how many levels they differ there after the warp."""
        grey, other = cv2.cvtColor(face.source_face, cv2.COLOR_BGR2GRAY), self.greys[row]
        size, around = len(grey), _surroundings(len(grey))
        flow = self._optical_flow.calc(grey, other, np.zeros((size, size, 2), np.float32))
        places = np.argwhere(around[::3, ::3] > 0)[:, ::-1] * 3  # x, y
        moved = (places + flow[places[:, 1], places[:, 0]]).astype(np.float32)
        found: Any = cv2.estimateAffine2D(places.astype(np.float32), moved, ransacReprojThreshold=STRAY)
        if (matrix := found[0]) is None:  # of a flat picture
            return flow, np.inf
        affine = (_grid(size) @ matrix[:, :2].T + matrix[:, 2] - _grid(size)).astype(np.float32)
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


def _light(face: np.ndarray) -> np.ndarray:
    """The logarithms of the mean colour of a face, uint8 BGR [S, S, 3], around the mouth: float32 [3], from 0 on."""
    mean = cv2.mean(face, _surroundings(len(face)).astype(np.uint8))
    return np.log(np.maximum(mean[:3], 1)).astype(np.float32)


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


@lru_cache
def _grid(size: int) -> np.ndarray:
    """The places of pixels: float32 [size, size, 2], x and y."""
    x, y = np.meshgrid(np.arange(size, dtype=np.float32), np.arange(size, dtype=np.float32))
    return np.stack([x, y], axis=2)


def _inside(flow: np.ndarray) -> np.ndarray:
    """Where a warp by displacements [S, S, 2] stays inside the picture: float32 [S, S], 0..1, with soft edges."""
    places = _grid(len(flow)) + flow
    edge = np.minimum(places, len(flow) - 1 - places).min(axis=2)
    return np.clip(edge / EDGE, 0, 1)


def _remapped(picture: np.ndarray, flow: np.ndarray) -> np.ndarray:
    places = _grid(len(flow)) + flow
    x, y = np.moveaxis(places, 2, 0)
    return cv2.remap(picture, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
