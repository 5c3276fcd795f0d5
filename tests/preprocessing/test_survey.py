"""What is found out about footage, what is said of it, and what training makes of it."""

import json
import re
import shutil
from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch

from conftest import NARROW
from data.clip import Clip, ClipRecord
from data.dataset import ExpertWindows, GeneratorWindows
from data.sampling import Key
from face_detection.find import CutFinder, lying_faces, several_people
from hparams import hparams
from media import yuv
from metrics.sync import Expert, score_distances
from models.torch_backend import array_networks
from preprocessing import survey
from preprocessing.survey import judge_all
from utils.devices import Precision

GOOD = ClipRecord(
    "a/b", frames=75, seconds=3.0, fps_in=25.0, faces=75, face_height=120, sharpness=180.0, speech_share=0.7,
    loudness_dbfs=-18.0, cuts=[], several_people=0.0, sound_seconds=3.0, damaged_packets=0, offset=0, confidence=0.7,
    evidence=8.0, windows=69, findings=[],
)  # fmt: skip


def moving(length: int, seed: int) -> list[np.ndarray]:
    """A picture that wanders by some pixels a frame, and flickers."""
    rng = np.random.default_rng(seed)
    scene = cv2.resize(rng.integers(0, 255, (12, 16, 3), np.uint8), (400, 300), interpolation=cv2.INTER_CUBIC)
    drift = np.cumsum(rng.integers(-3, 4, length))
    return [np.clip(np.roll(scene, int(d), axis=1) * rng.uniform(0.97, 1.03), 0, 255).astype(np.uint8) for d in drift]


FLASHED = moving(40, 0)
FLASHED[17] = np.clip(FLASHED[17].astype(int) + 90, 0, 255).astype(np.uint8)


@pytest.mark.parametrize(
    ("images", "cuts"), [(FLASHED, []), ([*moving(25, 0), *moving(25, 1), *moving(20, 2)], [25, 50])]
)
def test_cuts_are_found_and_motion_and_flashes_are_not(images, cuts):
    finder, by_image = CutFinder(), CutFinder()
    assert len(list(finder.watch([yuv.from_bgr(image, "yuv420p") for image in images]))) == len(images)
    assert len(list(by_image.watch(images))) == len(images)
    assert finder.cuts() == by_image.cuts() == cuts


def test_several_people_and_heads_on_their_side_are_counted():
    upright, lying, second, poster = [10, 10, 80, 110, 1], [10, 10, 110, 80, 1], [100, 0, 150, 60, 1], [0, 0, 20, 9, 1]
    frames = [np.array(faces, np.float32) for faces in ([upright, poster], [lying, poster], [lying], [upright, second])]
    nobody = np.zeros((0, 5), np.float32)
    assert lying_faces([*frames, nobody]) == 0.5
    assert several_people([*frames, nobody]) == 0.25
    assert lying_faces([nobody]) == several_people([nobody]) == 0


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, "^ok$"),
        ({"offset": 5}, r"^ok; sound 5 frames \(200 ms\) late, corrected"),
        ({"on_side": 1.0}, "head on its side in 100% of the frames: turn the video upright"),
        ({"several_people": 0.9}, "several people in 90% of the frames.*crop"),
        ({"cuts": [25, 50]}, "2 hard cuts: no window spans one; use longer shots"),
        ({"faces": 40}, "face in 53% of the frames"),
        ({"face_height": 40}, "small face"),
        ({"offset": 1, "evidence": 2.0}, "^ok$"),  # not significant, but near
    ],
)
def test_a_usable_clips_verdict_says_what_to_do(changes, said):
    (judged, *_), _ = judge_all([replace(GOOD, **changes), GOOD, GOOD, GOOD], hparams)
    assert judged.usable
    assert re.search(said, judged.verdict), judged.verdict
    assert judged.sound_offset == (changes.get("offset", 0) if "corrected" in said else 0)


@pytest.mark.parametrize("changes", [{"offset": 7, "evidence": 3.0}, {"problem": "is silent"}, {"windows": 1}])
def test_what_does_not_fit_is_left_out(changes):
    (judged, *_), _ = judge_all([replace(GOOD, **changes, several_people=0.8), GOOD, GOOD, GOOD], hparams)
    assert not judged.usable
    assert "several people" in judged.verdict  # which may well be the reason
    assert judged.sound_offset == 0


def test_an_expert_that_does_not_know_the_faces_leaves_no_clip_out():
    records = [replace(GOOD, offset=offset, evidence=2.0) for offset in (3, -9, 0, 14)]
    judged, remarks = judge_all(records, hparams)
    assert all(record.usable and not record.sound_offset for record in judged)
    assert "unreliable" in remarks[0]


class MatchingExpert(torch.nn.Module):
    """An expert for clips whose picture's grey level is that of the mel at the same time."""

    def embed_faces(self, faces):
        return _clock(faces[:, 6].mean((1, 2)) * 255)  # of the middle frame

    def embed_audio(self, mel):
        return _clock(mel.mean((1, 2, 3)))


def _clock(level):
    return torch.stack([torch.cos(level / 30), torch.sin(level / 30)], dim=1)


def test_the_offset_is_the_number_of_frames_by_which_the_sound_is_late():
    frames, late = np.arange(60), -4
    faces = np.repeat(frames, 96 * 96 * 3).reshape(60, 96, 96, 3).astype(np.uint8) * 3
    columns = np.arange(60 * 16 // 5) * 5 // 16 - late  # the frame that each mel column belongs to
    mel = np.repeat(3.0 * columns[:, None], 80, axis=1).astype(np.float32)
    starts = np.arange(56)
    expert = Expert(
        array_networks("expert", MatchingExpert(), Precision("fp32", torch.device("cpu"))), hparams, "matching"
    )
    distances = expert.distances(faces, starts, frames[starts], mel.T)
    assert distances.shape == (56, 31)
    assert np.isnan(distances[0, 0])  # no sound before the start
    score = score_distances(distances)
    assert abs(score.offset - late) <= 1
    assert score.lse_c > 0.2
    assert score.evidence > 4.5
    assert score_distances(distances[:3]) is None


def copied(preprocessed, tmp_path):
    shutil.copytree(preprocessed.root, tmp_path / "clips")
    return tmp_path / "clips", sorted(path.parent for path in (tmp_path / "clips").rglob("audio.wav"))


def test_training_corrects_the_sounds_offset_and_spans_no_cut(preprocessed, tmp_path):
    _, (folder, *_) = copied(preprocessed, tmp_path)
    plain = Clip(folder, NARROW)
    record = json.loads((folder / "clip.json").read_text(encoding="utf-8"))
    (folder / "clip.json").write_text(json.dumps({**record, "sound_offset": 5, "cuts": [20]}), encoding="utf-8")
    clip = Clip(folder, NARROW)
    starts = clip.frames[clip.window_rows(NARROW, per_frame_mels=True)]
    assert not set(starts) & set(range(16, 20))
    assert {15, 20} <= set(starts)
    assert starts.max() < plain.frames[plain.window_rows(NARROW, per_frame_mels=True)].max()
    for kind in (GeneratorWindows, ExpertWindows):
        windows = kind([clip], NARROW)
        for place in range(6):
            item = windows[Key(place, 7, 5)]
            frame = int(clip.frames[windows.rows[0][7]])
            late = int(80 * (frame + 5) / 25)
            if item.get("in_sync", 1):
                assert np.array_equal(item["mel"][0, 0], clip.mel[late : late + 16].T)


def test_a_published_folder_is_surveyed_and_its_lists_are_written(preprocessed, expert, tmp_path, script, monkeypatch):
    monkeypatch.setattr(survey, "MIN_WINDOWS", 5)  # the clips last two seconds
    root, folders = copied(preprocessed, tmp_path)
    for folder in folders:
        (folder / "clip.json").unlink()
    arguments = ["--report_only", "--preprocessed_root", root, "--filelists_dir", tmp_path / "lists"]
    arguments += ["--syncnet_checkpoint_path", expert]
    result = script("preprocess", *arguments)
    assert result.code == 0
    assert "3 of 3 videos usable" in result.out
    record = json.loads((folders[0] / "clip.json").read_text(encoding="utf-8"))
    assert record["frames"] == record["faces"] == 50
    assert record["sharpness"] > 0
    assert -15 <= record["offset"] <= 15
    assert (root / "report.html").read_text(encoding="utf-8").count("data:image/jpeg;base64,") == 3
