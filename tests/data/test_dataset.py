"""Windows from clips: which a step draws, what is in them, how they are augmented, and that chance is repeatable."""

import itertools
import os
import pickle
import shutil
from collections import Counter

import cv2
import numpy as np
import pytest
import torch

import audio
from conftest import NARROW
from data.augment import augment_pictures, perturb_mel
from data.clip import Clip
from data.dataset import (
    ExpertClips,
    ExpertWindows,
    GeneratorWindows,
    concatenated,
    expert_inputs,
    generator_inputs,
    window_frames,
)
from data.loading import evaluation_batches, open_clips, started, training_loader
from data.sampling import Key, PersonSampler, ShuffleSampler, StepPlan, StepSampler, parse_weights
from utils.errors import InputError

FRAMES = 40


@pytest.fixture
def folder(tmp_path):
    """A clip as the published preprocessing leaves it; the grey of a picture is 6 times its frame number."""
    folder = tmp_path / "talk" / "clip"
    folder.mkdir(parents=True)
    for n in range(FRAMES):
        cv2.imwrite(str(folder / f"{n}.jpg"), np.full((50, 40, 3), 6 * n, np.uint8))
    wav = np.random.default_rng(0).uniform(-0.5, 0.5, FRAMES * 640).astype(np.float32)
    audio.save_wav(wav, folder / "audio.wav", 16000)
    return folder


def numbers(faces) -> list[int]:
    return [round(float(face.float().mean()) / 6) for face in torch.as_tensor(faces)]


def test_windows_are_those_whose_frames_and_mels_are_there(folder):
    clip = Clip(folder, NARROW)
    columns = len(clip.mel)
    expected = [f for f in range(FRAMES - 4) if int(80 * f / 25) + 16 <= columns]
    assert clip.window_rows(NARROW, per_frame_mels=False).tolist() == expected
    expected = [f for f in expected if f >= 1 and int(80 * (f + 3) / 25) + 16 <= columns]
    assert clip.window_rows(NARROW, per_frame_mels=True).tolist() == expected
    (folder / "20.jpg").unlink()
    clip = Clip(folder, NARROW)
    frames = clip.frames[clip.window_rows(NARROW, per_frame_mels=True)].tolist()
    assert frames == [f for f in expected if f not in range(16, 21)]


def test_a_generator_window_holds_its_frames_its_mels_and_a_reference_from_elsewhere(folder):
    clip = Clip(folder, NARROW)
    windows = GeneratorWindows([clip], NARROW)
    for number in range(len(windows)):
        item = windows[Key(5, number, 5)]
        first = numbers(item["target"])[0]
        assert numbers(item["target"]) == list(range(first, first + 5))
        reference = numbers(item["reference"])
        assert reference == list(range(reference[0], reference[0] + 5))
        assert reference[0] != first
        for mel, start in zip(item["mels"], audio.frame_mel_starts(first), strict=True):
            assert np.array_equal(mel[0], clip.mel[start : start + 16].T)
        start = audio.window_mel_start(first)
        assert np.array_equal(item["mel"][0, 0], clip.mel[start : start + 16].T)
    frame = windows[Key(5, number, 1)]
    assert all(np.array_equal(frame[name], item[name][:1]) for name in ("target", "reference", "mels"))
    assert frame["mel"].shape == (0, 1, 80, 16)  # the expert judges windows alone


def test_what_the_networks_are_given(folder):
    windows = GeneratorWindows([Clip(folder, NARROW)], NARROW)
    batch = concatenated([windows[Key(0, 3, 5)], windows[Key(1, 9, 5)], windows[Key(2, 7, 1)]])
    faces, target = generator_inputs(batch)
    assert faces.shape == (11, 6, 96, 96)
    assert target.shape == (11, 3, 96, 96)
    assert (faces[:, :3, 48:] == 0).all()
    assert torch.equal(faces[:, :3, :48], target[:, :, :48])
    assert target.max() <= 1
    assert (batch["mels"].shape, batch["mel"].shape) == ((11, 1, 80, 16), (2, 1, 80, 16))
    assert torch.equal(window_frames(target, 2, 5)[1, :, 2], target[7])
    expert = ExpertWindows([Clip(folder, NARROW)], NARROW)
    mel, halves = expert_inputs(concatenated([expert[Key(0, 3, 5)]]))
    assert (mel.shape, halves.shape) == ((1, 1, 80, 16), (1, 15, 48, 96))
    first = round(float(halves[0, 0].mean()) * 255 / 6)
    assert [round(float(halves[0, 3 * k].mean()) * 255 / 6) for k in range(5)] == list(range(first, first + 5))


def test_augmentation_changes_a_window_and_its_reference_alike(folder):
    for n in range(FRAMES):  # left half dark, right half bright
        picture = np.full((96, 96, 3), 60, np.uint8)
        picture[:, 48:] = 180
        cv2.imwrite(str(folder / f"{n}.jpg"), picture)
    clip = Clip(folder, NARROW)
    plain, changed = GeneratorWindows([clip], NARROW), GeneratorWindows([clip], NARROW, training=True)
    mirrored = 0
    for place in range(20):
        item, before = changed[Key(place, 7, 5)], plain[Key(place, 7, 5)]
        assert np.array_equal(item["mels"], before["mels"])
        assert not np.array_equal(item["target"], before["target"])
        assert (item["target"] == item["target"][:1]).all()
        assert (item["reference"] == item["target"]).all()
        left, right = item["target"][..., :40, :].mean(), item["target"][..., 56:, :].mean()
        mirrored += left > right
        edge = np.flatnonzero(np.abs(np.diff(item["target"][0, 0, :, 0].astype(int))) > 60)
        assert len(edge) == 1  # moved by whole pixels: the edge is as sharp as before
        assert abs(int(edge[0]) - 47) <= 4
        assert np.array_equal(item["target"], changed[Key(place, 7, 5)]["target"])
    assert 4 < mirrored < 16


def same(a: dict, b: dict) -> bool:
    return all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.slow
def test_batches_do_not_depend_on_loader_workers_and_resume_at_any_step(folder):
    whole = list(itertools.islice(training_loader(GeneratorWindows([Clip(folder, NARROW)], NARROW), 4, 0), 12))
    windows = GeneratorWindows([Clip(folder, NARROW)], NARROW.override("num_workers=2"))
    assert len(windows.clips[0].faces) == FRAMES  # opened here already
    assert len(pickle.dumps(windows)) < 5000  # handed to workers without its pictures
    with started(training_loader(windows, 4, 7)) as later:
        for batch in whole[7:]:
            assert same(batch, next(later))


@pytest.mark.slow
def test_sound_replaced_under_a_training_ends_it_in_one_line(folder):
    windows = GeneratorWindows([Clip(folder, NARROW)], NARROW.override("num_workers=1"))
    Clip(folder, NARROW.override("fmin=100"))
    with (
        pytest.raises(InputError, match=r"clip: .* mel\.npy") as raised,
        started(training_loader(windows, 4, 0)) as batches,
    ):
        next(batches)
    assert "\n" not in str(raised.value)


def test_evaluation_windows_are_always_the_same_and_spread_over_all_clips(folder):
    windows = GeneratorWindows([Clip(folder, NARROW)], NARROW)
    first, second = (evaluation_batches(windows, 4) for _ in range(2))
    assert sum(len(batch["mel"]) for batch in first) == NARROW.eval_windows
    assert all(same(a, b) for a, b in zip(first, second, strict=True))
    starts = [number for batch in first for number in numbers(batch["target"])[::5]]
    assert starts[0] == 1
    assert starts[-1] > 30


def test_the_cache_is_made_once_and_again_when_a_source_changes(folder, monkeypatch):
    calls = []
    real = audio.melspectrogram
    monkeypatch.setattr(audio, "melspectrogram", lambda *a: calls.append(1) or real(*a))
    Clip(folder, NARROW)
    Clip(folder, NARROW)
    assert len(calls) == 1
    cv2.imwrite(str(folder / "7.jpg"), np.full((80, 80, 3), 255, np.uint8))
    assert Clip(folder, NARROW).faces[7].mean() > 250
    Clip(folder, NARROW.override("fmin=100"))
    assert len(calls) == 3
    assert not list(folder.glob("*.part"))


@pytest.mark.parametrize("name", ["faces.npy", "mel.npy", "cache.json"])
def test_a_damaged_cache_is_made_again(folder, name):
    clip = Clip(folder, NARROW)
    faces, mel, whole = np.array(clip.faces), np.array(clip.mel), (folder / name).read_bytes()
    stat = (folder / name).stat()
    for damaged in (b"", whole[: len(whole) // 2], whole[:200].ljust(len(whole), b"\0")):
        (folder / name).write_bytes(damaged)
        os.utime(folder / name, ns=(stat.st_atime_ns, stat.st_mtime_ns))
        clip = Clip(folder, NARROW)
        assert np.array_equal(clip.faces, faces) and np.array_equal(clip.mel, mel)


def test_the_first_folder_of_a_group_is_the_person(folder, tmp_path):
    persons = {"anna/day 1/talk": "anna", "ben/day 1/talk": "ben", "ben/talk": "ben", "talk": "root"}
    for name in persons:
        shutil.copytree(folder, tmp_path / "root" / name)
    (tmp_path / "train.txt").write_text("\n".join(persons), encoding="utf-8")
    clips = open_clips(tmp_path / "root", "train", tmp_path, NARROW)
    assert [clip.person for clip in clips] == list(persons.values())


def test_broken_clips_are_named(folder, tmp_path):
    (tmp_path / "none").mkdir()
    with pytest.raises(InputError, match="holds no frames"):
        Clip(tmp_path / "none", NARROW)
    (folder / "3.jpg").write_bytes(b"no picture")
    with pytest.raises(InputError, match=r"3\.jpg: is no picture"):
        Clip(folder, NARROW)
    (folder / "audio.wav").unlink()
    with pytest.raises(InputError, match=r"has no audio\.wav"):
        Clip(folder, NARROW)


def steps(plan: StepPlan, count: int, *where, windows: int = 50) -> list[list[Key]]:
    return list(
        itertools.islice(StepSampler(plan, ShuffleSampler(windows, 1), ShuffleSampler(windows, 2), *where), count)
    )


def test_an_epoch_is_every_window_once_in_another_order_each_time():
    keys = [key for step in steps(StepPlan(10), 15) for key in step]
    assert [key.sample_index for key in keys] == list(range(150))
    epochs = [[key.window for key in keys[50 * e : 50 * (e + 1)]] for e in range(3)]
    assert all(sorted(epoch) == list(range(50)) for epoch in epochs)
    assert epochs[0] != epochs[1] != epochs[2]


@pytest.mark.parametrize("plan", [StepPlan(8), StepPlan(8, frames=4, frames_first=5), StepPlan(4, frames=12)])
def test_a_run_resumes_at_any_step_and_processes_and_parts_share_each_step_evenly(plan):
    whole = steps(plan, 12)
    assert steps(plan, 5, 7) == whole[7:]
    indices = [key.sample_index for step in whole for key in step]
    assert len(set(indices)) == len(indices)
    shares = [steps(plan, 24, 0, 2, rank, 2) for rank in range(2)]
    for step, keys in enumerate(whole):
        parts = [share[2 * step + part] for part in range(2) for share in shares]
        assert Counter(key for part in parts for key in part) == Counter(keys)
        assert len({tuple(sorted(Counter(key.frames for key in part).items())) for part in parts}) == 1


def test_the_first_steps_have_single_frames_alone_and_later_ones_windows_before_frames():
    plan = StepPlan(2, frames=3, frames_first=4)
    for number, keys in enumerate(steps(plan, 6)):
        frames = [key.frames for key in keys]
        assert frames == ([1] * 13 if number < 4 else [5, 5, 1, 1, 1])  # 13 frames in every step


def test_people_count_evenly_however_many_clips_they_have_or_as_their_weights_say():
    persons, counts = ["anna"] * 4 + ["ben"], [10, 10, 10, 70, 100]
    drawn = Counter(number // 10 for number in map(PersonSampler(persons, counts, {}, 0), range(4000)))
    of_anna = [sum(drawn[k] for k in part) for part in ([0], [1], [2], range(3, 10))]
    assert sum(of_anna) == pytest.approx(2000, rel=0.1)
    assert all(count == pytest.approx(500, rel=0.2) for count in of_anna)  # her clips count evenly, too
    heavy = map(PersonSampler(persons, counts, {"ben": 3.0}, 0), range(4000))
    assert sum(number >= 100 for number in heavy) == pytest.approx(3000, rel=0.1)


@pytest.mark.parametrize("text", ["anna", "carl:2", "anna:0"])
def test_weights_of_people_that_make_no_sense_are_refused(text):
    assert parse_weights("anna:1.6  ben:0.5", ["anna", "ben"]) == {"anna": 1.6, "ben": 0.5}
    with pytest.raises(InputError, match="people_weights"):
        parse_weights(text, ["anna", "ben"])


class RampClip:
    """A clip whose faces get brighter to the right, so that a mirrored one is seen, and whose sound names its place."""

    def __init__(self, person: str) -> None:
        self.person = person
        self.times = np.arange(60)
        self.faces = np.broadcast_to(np.linspace(40, 200, 96).astype(np.uint8)[:, None], (60, 96, 96, 3))

    def window_rows(self, hp, per_frame_mels):
        return np.arange(1, 49)

    def mel_window(self, start, hp):
        return np.full((1, 80, 16), start, np.float32)


def test_label_mirror_and_sound_do_not_depend_on_the_person():
    people, hp = 6, NARROW.override("sampling=people")
    windows = ExpertWindows([RampClip(name) for name in "abcdef"[:people]], hp, training=True)
    keys = [
        step[0]
        for step in itertools.islice(StepSampler(windows.plan(1), windows.index_sampler(0), ShuffleSampler(1, 1)), 1500)
    ]
    rows = []
    for key in keys:
        item = windows[key]
        own = audio.window_mel_start(key.window % 48 + 1)
        assert (item["mel"].mean() == own) == bool(item["in_sync"][0])
        mirrored = item["faces"][0, 0, :, 4, 0].mean() > item["faces"][0, 0, :, -4, 0].mean()
        rows.append((key.window // 48, item["in_sync"][0], mirrored, item["mel"].mean() / audio.window_mel_start(48)))
    person, *others = np.array(rows).T
    for values in others:
        means = [values[person == number].mean() for number in range(people)]
        assert np.ptp(means) < 0.17  # 250 draws each: a standard deviation of 0.032 for a label


STRONG = NARROW.override("augment_shape=1,augment_colour=1,augment_sound=1")


def face() -> np.ndarray:
    """A smooth picture with a bright spot at (30, 60)."""
    rows, columns = np.mgrid[0:96, 0:96]
    spot = 150 * np.exp(-((rows - 30) ** 2 + (columns - 60) ** 2) / 50)
    return (60 + spot[..., None] * (1, 0.8, 0.6)).astype(np.uint8)


def test_strong_changes_move_bend_and_recolour_a_face_and_all_its_frames_alike():
    places, means = [], []
    for seed in range(60):
        frames = augment_pictures(np.stack([face()] * 3), STRONG, np.random.default_rng(seed))
        assert frames.dtype == np.uint8
        assert (frames == frames[:1]).all()
        places.append(np.unravel_index(int(frames[0].sum(axis=2).argmax()), (96, 96)))
        means.append(frames[0].mean())
    down, across = np.std(places, axis=0)
    assert 2 < down < 12
    assert across > 8  # mirrored half of the time
    assert np.std(means) / np.mean(means) > 0.15


def test_another_voice_keeps_the_rhythm_and_changes_all_mels_alike():
    mels = np.random.default_rng(0).uniform(-2, 3, (2, 1, 80, 16)).astype(np.float32)
    mels[:, :, :, 8:] -= 2  # softer from the ninth column on
    mels[1] = mels[0]
    for seed in range(20):
        changed = perturb_mel(mels, np.random.default_rng(seed), 1.0, STRONG.max_abs_value)
        assert changed.dtype == np.float32
        assert np.abs(changed).max() <= NARROW.max_abs_value
        assert not np.array_equal(changed, mels)
        assert changed[..., :8].mean() > changed[..., 8:].mean() + 0.5


@pytest.fixture
def clip(tmp_path) -> Clip:
    """Forty frames; the mouth is dark in all but three of them."""
    for n in range(40):
        picture = np.full((96, 96, 3), 120, np.uint8)
        picture[56:92, 22:74] = 240 if n in (10, 20, 30) else 30
        cv2.imwrite(str(tmp_path / f"{n}.jpg"), picture)
    wav = np.random.default_rng(0).uniform(-0.5, 0.5, 40 * 640).astype(np.float32)
    audio.save_wav(wav, tmp_path / "audio.wav", 16000)
    return Clip(tmp_path, NARROW)


def test_references_with_another_mouth_are_preferred_where_that_is_asked_for(clip):
    def differences(values: str) -> float:
        windows = GeneratorWindows([clip], NARROW.override(values), training=True)
        pairs = [windows[Key(place, place % len(windows), 1)] for place in range(200)]
        return float(np.mean([np.abs(p["target"][0][56:92, 22:74].astype(int) - p["reference"][0][56:92, 22:74]).mean()
                              for p in pairs]))  # fmt: skip

    assert differences("other_mouth=1") > 2 * differences("")


def test_an_experts_clip_item_has_windows_from_all_over_the_clip_each_with_its_own_sound(clip):
    windows = ExpertClips([clip], NARROW.override("syncnet_clip_windows=4"))
    assert windows.plan(8).windows == 2
    item = windows[Key(0, 0, 5)]
    assert item["faces"].shape == (4, 5, 48, 96, 3)
    assert item["mel"].shape == (4, 1, 80, 16)
    starts = [next(s for s in range(len(clip.mel)) if np.array_equal(clip.mel[s : s + 16].T, mel[0]))
              for mel in item["mel"]]  # fmt: skip
    assert starts == sorted(starts)
    assert starts[-1] - starts[0] > 30
    assert item["in_sync"].tolist() == [1, 1, 1, 1]
