"""Windows from clips: which there are, what is in them, and that chance is repeatable."""

import itertools
import os
import pickle
import shutil

import cv2
import numpy as np
import pytest
import torch

import audio
from conftest import NARROW
from data.clip import Clip
from data.dataset import ExpertWindows, GeneratorWindows, concatenated, expert_inputs, generator_inputs, window_frames
from data.loading import evaluation_batches, open_clips, started, training_loader
from data.sampling import Key
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
