"""Scores of dubs: what is measured, by which scorer, and what is written."""

import json
import shutil
from fractions import Fraction
from html.parser import HTMLParser

import av
import numpy as np
import pytest
import torch

import audio
from conftest import NARROW
from footage import click_track, encode, recording
from hparams import hparams
from media.reader import VideoReader
from media.writer import VideoWriter
from metrics import evaluation, streaming
from metrics.evaluation import find_pairs
from metrics.likeness import likeness
from metrics.options import EvaluationOptions
from metrics.scorers import load_scorer
from metrics.sync_offset import MAX_SHIFT, score_distances, window_distances
from metrics.video_score import _embed_sound
from models import published
from models.syncnet import SyncNet_v2
from utils.errors import InputError

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def published_scorer(tmp_path_factory):
    """Random weights in the form of syncnet_v2.model."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("scorer") / "syncnet_v2.model"
    torch.save(SyncNet_v2().state_dict(), path)
    return path


class Listener:
    """A scorer that tells when it hears a click."""

    hp = hparams

    def embed_audio(self, wav: np.ndarray) -> float:
        return float(np.abs(wav).argmax()) / hparams.sample_rate


@pytest.mark.parametrize(("delay", "late"), [(0.0, 0.0), (0.48, 0.0), (0.0, 0.6)])
@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.webm"])
def test_the_speech_of_a_dub_is_heard_at_the_same_time_from_its_own_file(tmp_path, name, delay, late):
    speech = recording(tmp_path / "speech.mkv", "aac", 48000, click_track(2.0, 1.0, 48000), delay=delay, late=late)
    dub = tmp_path / name
    with VideoWriter(dub, Fraction(25), speech) as writer:
        for n in range(50):
            writer.write(np.zeros((64, 64, 3), np.uint8), n / 25)
    own = _embed_sound(Listener(), dub, VideoReader(dub), True)
    assert own == pytest.approx(1.0 + delay, abs=0.01)
    assert _embed_sound(Listener(), speech, VideoReader(dub), False) == pytest.approx(own, abs=0.01)


def test_sound_of_another_file_is_played_along_with_pictures_that_start_late(tmp_path):
    video = recording(tmp_path / "late.mp4", "aac", 48000, click_track(2.0, 1.0, 48000), late=0.6)
    audio.save_wav(click_track(2.0, 1.0, 16000), tmp_path / "speech.wav", 16000)
    reader = VideoReader(video)
    for sound, own in ((video, True), (tmp_path / "speech.wav", False)):
        assert _embed_sound(Listener(), sound, reader, own) == pytest.approx(0.4, abs=0.01)


def test_the_published_scorer_has_the_size_of_its_weight_file():
    parameters = sum(tensor.numel() for tensor in SyncNet_v2().state_dict().values())
    assert 4 * parameters == 54_561_080  # the file has 54.57 MB


def test_the_published_scorer_sees_the_box_with_margins_and_more_below(published_scorer):
    image = np.zeros((300, 300, 3), np.uint8)
    image[100:200, 100:200] = 255  # the box
    face = load_scorer(published_scorer, CPU).crop_face(image, np.array([100, 100, 200, 200]))
    assert face.shape == (224, 224, 3)
    rows, columns = np.flatnonzero(face.max((1, 2)) > 127), np.flatnonzero(face.max((0, 2)) > 127)
    assert rows.min() == 0  # nothing above the box: 100 of 140 rows, 20 of 140 columns on either side
    assert abs(rows.max() - 224 * 100 / 140) < 2
    assert abs(columns.min() - 224 * 20 / 140) < 2
    assert abs(columns.max() - 224 * 120 / 140) < 2


def test_outside_the_sound_the_scorers_own_missing_value_counts():
    faces, sound = np.eye(4, dtype=np.float32)[:2] * 3, np.eye(4, dtype=np.float32)
    zeros = window_distances(faces, np.array([0, 1]), sound, missing=0.0)
    assert zeros[0, MAX_SHIFT - 1] == 3.0  # the length of the face's own embedding
    assert np.isnan(window_distances(faces, np.array([0, 1]), sound)[0, MAX_SHIFT - 1])
    assert zeros[0, MAX_SHIFT] == zeros[1, MAX_SHIFT] == 2.0


def test_evidence_counts_standard_errors_of_windows_that_do_not_overlap():
    rng = np.random.default_rng(0)
    distances = np.ones((500, 31), np.float32)
    distances[:, 20] -= (0.2 + rng.normal(0, 0.1, 500)).astype(np.float32)
    score = score_distances(distances)
    assert score.offset == 20 - MAX_SHIFT
    assert score.evidence == pytest.approx(0.2 / (0.1 / (500 / 5) ** 0.5), rel=0.1)


@pytest.mark.parametrize("block", [8, 256])
def test_windows_are_the_same_in_blocks_of_any_size_and_span_neither_gap_nor_cut(expert, monkeypatch, block):
    monkeypatch.setattr(streaming, "BLOCK", block)
    faces = np.random.default_rng(0).integers(0, 256, (30, 96, 96, 3), np.uint8)
    scorer = load_scorer(expert, CPU)
    stream = streaming.WindowStream(scorer)
    for number, face in enumerate(faces):
        stream.add(number, None if number == 4 else face, new_shot=number == 15)
    stream.flush()
    starts = np.array([*range(5, 11), *range(15, 26)])
    assert np.concatenate(stream.times).tolist() == starts.tolist()
    np.testing.assert_allclose(np.concatenate(stream.embeddings), scorer.embed_faces(faces, starts), atol=0.02)


@pytest.mark.slow
def test_a_video_is_scored_by_every_scorer_against_itself(talking, expert, published_scorer, tmp_path, script):
    out = tmp_path / "my scores.json"
    result = script(
        "evaluate", "--video", talking, "--reference", talking, "--outfile", out,
        "--syncnet_checkpoint_path", expert, published_scorer,
    )  # fmt: skip
    assert result.code == 0, result.err
    assert "SyncNet_color expert.pth" in result.out
    assert "published SyncNet syncnet_v2.model" in result.out
    (video,) = json.loads(out.read_text(encoding="utf-8"))["videos"]
    assert video["frames"] == video["faces"] == 50
    best = {"frames": 50, "l1": 0.0, "psnr": 100.0, "ssim": 1.0, "gradient_distance": 0.0, "sharpness_ratio": 1.0}
    assert video["reference"] == pytest.approx({"video": video["reference"]["video"]} | best, abs=1e-6)
    ours, theirs = video["sync"]
    assert (ours["windows"], theirs["windows"]) == (47 - 2 * 15, 46)  # the mel has one column more than the sound
    assert len(ours["curve"]) == len(theirs["curve"]) == 31
    assert ours["lse_d"] == min(ours["curve"])
    assert [second["second"] for second in theirs["seconds"]] == [0, 1]
    page = out.with_suffix(".html").read_text(encoding="utf-8")
    assert page.count("<svg") == 4  # for each scorer, over shift and by second
    HTMLParser().feed(page)


def test_likeness_falls_with_the_difference():
    true = np.random.default_rng(0).integers(0, 200, (20, 30, 3)).astype(np.uint8)
    near, far = (likeness(true + np.uint8(levels), true) for levels in (5, 50))
    assert near[0] == pytest.approx(5 / 255, abs=1e-6)
    assert near[1] == pytest.approx(20 * np.log10(255 / 5), abs=1e-3)
    assert near[1] > far[1]
    assert near[2] > far[2]


@pytest.mark.slow
def test_one_bad_video_of_a_folder_is_named_and_the_others_are_scored(talking, expert, tmp_path, script, monkeypatch):
    real = evaluation.score_video

    def score_video(video, *rest):
        if video.name == "unlucky.mp4":
            raise ZeroDivisionError("of a library")
        return real(video, *rest)

    monkeypatch.setattr(evaluation, "score_video", score_video)
    shutil.copy(talking, tmp_path / "unlucky.mp4")
    shutil.copy(talking, tmp_path / "good one.mp4")
    shutil.copy(talking, tmp_path / "zoë.mp4")
    (tmp_path / "broken.mp4").write_bytes(b"nothing")
    result = script(
        "evaluate", "--video", tmp_path, "--syncnet_checkpoint_path", expert, "--outfile", tmp_path / "o.json"
    )
    assert result.code == 1
    assert result.err.count("not scored: ") == 2
    assert "ZeroDivisionError: of a library" in result.err
    assert "broken.mp4" in result.err
    assert "mean of 2" in result.out


def test_files_of_a_folder_are_videos_by_name_or_by_content_and_what_is_unknown_is_named(tmp_path, capsys):
    for name in ("b.mp4", "a.MOV", "._a.MOV", "a.txt", "notes.abc"):
        (tmp_path / name).touch()
    for name, form in (("c.MOD", "mpeg"), ("d.f4v", "mp4"), ("e", "matroska")):
        encode(tmp_path / "x.mkv", "mpeg2video" if form == "mpeg" else "mpeg4", frames=5)
        with av.open(str(tmp_path / "x.mkv")) as source, av.open(str(tmp_path / name), "w", form) as out:
            stream = out.add_stream_from_template(source.streams.video[0])
            for packet in source.demux(video=0):
                if packet.size:
                    packet.stream = stream
                    out.mux(packet)
        (tmp_path / "x.mkv").unlink()
    pairs = find_pairs(EvaluationOptions(video=tmp_path))
    assert [pair.video.name for pair in pairs] == ["a.MOV", "b.mp4", "c.MOD", "d.f4v", "e"]
    assert "notes.abc" in capsys.readouterr().out


def test_a_list_names_videos_sounds_and_references_relative_to_itself(talking, expert, tmp_path, script):
    shutil.copy(talking, tmp_path / "a, b.mp4")
    audio.save_wav(audio.load_wav(talking, 16000), tmp_path / "speech.wav", 16000)
    path = tmp_path / "pairs.csv"
    path.write_text('video,audio,reference\n"a, b.mp4",speech.wav,\n"a, b.mp4",,"a, b.mp4"\n', encoding="utf-8-sig")
    out = tmp_path / "o.json"
    assert script("evaluate", "--list", path, "--syncnet_checkpoint_path", expert, "--outfile", out).code == 0
    first, second = json.loads(out.read_text(encoding="utf-8"))["videos"]
    assert first["sound"].endswith("speech.wav")
    assert "reference" not in first
    assert second["reference"]["ssim"] == 1.0
    assert first["sync"][0]["offset"] == second["sync"][0]["offset"]


def test_what_cannot_be_scored_gets_one_line(talking, expert, generator, tmp_path, script):
    silent, empty, headless = tmp_path / "silent.mp4", tmp_path / "empty", tmp_path / "headless.csv"
    empty.mkdir()
    headless.write_text("a.mp4,b.wav\n")
    encode(silent, "libx264", frames=30)
    short = tmp_path / "short.wav"
    audio.save_wav(np.zeros(100), short, 16000)
    for arguments, said in (
        (["--video", tmp_path / "none.mp4"], "none.mp4: no such file"),
        (["--video", silent], "silent.mp4: has no sound track"),
        (["--video", empty], "holds no videos"),
        (["--video", empty, "--audio", short], "is a folder"),
        (["--video", talking, "--audio", short], "short.wav: its sound lasts 0.01 s, too short"),
        (["--list", headless], "headless.csv: has the columns a.mp4, b.wav"),
        (["--video", talking, "--syncnet_checkpoint_path", generator], "a lip-sync expert (SyncNet_color) is needed"),
    ):
        scorer = [] if "--syncnet_checkpoint_path" in arguments else ["--syncnet_checkpoint_path", expert]
        result = script("evaluate", *arguments, *scorer, "--outfile", tmp_path / "o.json")
        assert result.code == 2, arguments
        assert said in result.error, result.error
        assert not (tmp_path / "o.json").exists()


def test_all_scorers_that_are_there_are_taken_the_published_one_first(tmp_path, monkeypatch):
    places = [tmp_path / name for name in ("v2.model", "bundled.safetensors")]
    monkeypatch.setattr(published, "ROOT", tmp_path)
    monkeypatch.setattr(published, "PUBLISHED_SCORER", places[0])
    monkeypatch.setattr(published, "EXPERTS", (tmp_path / "none.pth", places[1]))
    with pytest.raises(InputError, match="none of"):
        published.default_scorers()
    for place in places:
        place.touch()
    assert published.default_scorers() == places


def test_exported_weights_are_half_as_large_and_know_their_width(expert, tmp_path, script):
    out = tmp_path / "mine.safetensors"
    result = script("weights", "export", expert, out)
    assert result.code == 0
    assert out.stat().st_size < 0.6 * expert.stat().st_size
    scorer, original = load_scorer(out, CPU), load_scorer(expert, CPU)
    assert scorer.hp.width == NARROW.width
    faces = np.random.default_rng(0).integers(0, 256, (5, 96, 96, 3), np.uint8)
    both = [each.embed_faces(faces, np.array([0])) for each in (scorer, original)]
    np.testing.assert_allclose(*both, atol=0.01)
    assert script("weights", "export", expert, tmp_path / "mine.pth").code == 2


def test_published_weights_go_before_bundled_ones(tmp_path, monkeypatch):
    monkeypatch.setattr(published, "ROOT", tmp_path)
    monkeypatch.setattr(published, "BUNDLED_GENERATOR", tmp_path / "checkpoints" / "small.safetensors")
    (tmp_path / "checkpoints").mkdir()
    for name in ("small.safetensors", "wav2lip.pth", "wav2lip_gan.pth"):
        (tmp_path / "checkpoints" / name).touch()
        assert published.default_generator().name == name
