"""Scores of dubs and of generators: what is measured and compared, by which scorer, and what is written."""

import json
import shutil
from fractions import Fraction

import numpy as np
import pytest
import torch

import audio
from footage import click_track, encode, recording
from hparams import hparams
from media.reader import VideoReader
from media.writer import VideoWriter
from metrics import EvaluationOptions, published_syncnet, videos
from metrics.generators import sync_accuracy
from metrics.published_syncnet import load_scorer, mfcc
from metrics.score_report import ONE_CLIP
from metrics.sync import Expert
from metrics.videos import Pair, find_pairs
from models import published
from models.syncnet import SyncNet_v2
from models.torch_backend import array_networks
from utils.devices import Precision
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


def heard(pair: Pair) -> float:
    return videos.embed_sound(Listener(), pair, VideoReader(pair.video), None, [])


@pytest.mark.parametrize(("name", "delay", "late"), [("a.mp4", 0.48, 0.0), ("a.webm", 0.0, 0.6)])
def test_the_speech_of_a_dub_is_heard_at_the_same_time_from_its_own_file(tmp_path, name, delay, late):
    click = click_track(2.0, 1.0, 48_000)
    speech = recording(tmp_path / "speech.mkv", click, sound_at=delay, pictures_at=late)
    dub = tmp_path / name
    with VideoWriter(dub, Fraction(25), speech) as writer:
        for n in range(50):
            writer.write(np.zeros((64, 64, 3), np.uint8), n / 25)
    own = heard(Pair(dub))
    assert own == pytest.approx(1.0 + delay, abs=0.01)
    assert heard(Pair(dub, speech)) == pytest.approx(own, abs=0.01)


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


def test_files_of_a_folder_are_videos_by_name_or_by_content_and_what_is_unknown_is_named(tmp_path, capsys):
    for name in ("b.mp4", "a.MOV", "._a.MOV", "a.txt", "notes.abc"):
        (tmp_path / name).touch()
    for name, codec, form in (("c.MOD", "mpeg2video", "mpg"), ("d.f4v", "mpeg4", "mp4"), ("e", "mpeg4", "mkv")):
        encode(tmp_path / f"a.{form}", codec, frames=5).rename(tmp_path / name)
    pairs = find_pairs(EvaluationOptions(video=tmp_path))
    assert [pair.video.name for pair in pairs] == ["a.MOV", "b.mp4", "c.MOD", "d.f4v", "e"]
    assert "notes.abc" in capsys.readouterr().out


@pytest.mark.slow
def test_the_videos_of_a_list_are_scored_by_every_scorer_and_bad_ones_do_not_stop_it(
    talking, expert, published_scorer, tmp_path, script, monkeypatch
):
    real = videos.score_video

    def score_video(pair, *rest):
        if pair.video.name == "unlucky.mp4":
            raise ZeroDivisionError("of a library")
        return real(pair, *rest)

    monkeypatch.setattr(videos, "score_video", score_video)
    shutil.copy(talking, tmp_path / "a, b.mp4")
    (tmp_path / "broken.mp4").write_bytes(b"nothing")
    audio.save_wav(audio.load_wav(talking, 16000), tmp_path / "speech.wav", 16000)
    path, out = tmp_path / "pairs.csv", tmp_path / "my scores.json"
    rows = ["video,audio,reference", "unlucky.mp4,,", "broken.mp4,,", '"a, b.mp4",speech.wav,"a, b.mp4"']
    path.write_text("\n".join(rows), encoding="utf-8-sig")
    scorers = ["--syncnet_checkpoint_path", expert, published_scorer]
    result = script("evaluate", "--list", path, *scorers, "--outfile", out)
    assert result.code == 1
    assert result.err.count("not scored: ") == 2
    assert all(said in result.err for said in ("ZeroDivisionError: of a library", "broken.mp4"))
    assert "SyncNet_color expert.pth" in result.out
    assert "published SyncNet syncnet_v2.model" in result.out
    (video,) = json.loads(out.read_text(encoding="utf-8"))["videos"]
    assert video["sound"].endswith("speech.wav")
    assert video["frames"] == video["faces"] == 50
    best = {"frames": 50, "l1": 0.0, "psnr": 100.0, "ssim": 1.0, "gradient_distance": 0.0, "sharpness_ratio": 1.0}
    assert video["reference"] == pytest.approx({"video": video["reference"]["video"]} | best, abs=1e-6)
    ours, theirs = video["sync"]
    assert (ours["windows"], theirs["windows"]) == (47 - 2 * 15, 46)  # the mel has one column more than the sound
    assert len(ours["curve"]) == len(theirs["curve"]) == 31
    assert ours["lse_d"] == min(ours["curve"])
    assert [second["second"] for second in theirs["seconds"]] == [0, 1]
    page = out.with_suffix(".html").read_text(encoding="utf-8")
    assert page.count('alt="plot: ') == 4  # for each scorer, over shift and by second


def test_published_weights_go_before_bundled_ones(tmp_path, monkeypatch):
    monkeypatch.setattr(published, "ROOT", tmp_path)
    monkeypatch.setattr(published, "BUNDLED_GENERATOR", tmp_path / "checkpoints" / "small.safetensors")
    places = [tmp_path / name for name in ("v2.model", "bundled.safetensors")]
    monkeypatch.setattr(published, "PUBLISHED_SCORER", places[0])
    monkeypatch.setattr(published, "EXPERTS", (tmp_path / "none.pth", places[1]))
    with pytest.raises(InputError, match="none of"):
        published.default_scorers()
    for place in places:
        place.touch()
    assert published.default_scorers() == places
    (tmp_path / "checkpoints").mkdir()
    for name in ("small.safetensors", "wav2lip.pth", "wav2lip_gan.pth"):
        (tmp_path / "checkpoints" / name).touch()
        assert published.default_generator().name == name


def test_mfccs_are_those_of_the_library_that_the_published_scorer_uses(monkeypatch):
    t = np.arange(8000) / 16000
    wav = np.round(32768 * 0.3 * np.sin(2 * np.pi * (200 * t + 1500 * t * t))) / 32768
    columns = mfcc(wav)
    assert columns.shape == (49, 13)
    # python_speech_features 0.6: mfcc(int16 samples, 16000)[30]
    wanted = [21.3371, 9.4304, -27.4451, -31.1167, 1.3234, 28.538, 17.1628, -17.5279, -30.1591, -8.1996, 17.6258,
              14.8977, -7.3451]  # fmt: skip
    np.testing.assert_allclose(columns[30], wanted, atol=1e-3)
    monkeypatch.setattr(published_syncnet, "COLUMNS_AT_ONCE", 7)
    np.testing.assert_array_equal(mfcc(wav), columns)


FP32 = Precision("fp32", torch.device("cpu"))


@pytest.mark.slow
def test_a_generator_is_scored_with_ceiling_floor_and_several_experts(
    preprocessed, generator, expert, tmp_path, script
):
    out = tmp_path / "generator.json"
    result = script(
        "evaluate", "--data_root", preprocessed.root, "--filelists_dir", preprocessed.lists, "--outfile", out,
        "--generator", generator, "--syncnet_checkpoint_path", expert, expert,
    )  # fmt: skip
    assert result.code == 0, result.err
    content = json.loads(out.read_text(encoding="utf-8"))
    assert len(content["experts"]) == result.out.count("sync accuracy") == 2
    rows = content["experts"][0]["sync"]
    assert rows.keys() == {  # a single clip is held out here
        "real footage", "one still frame", "dubbed with its own speech", "dubbed, published timing",
    }  # fmt: skip
    assert all(row["clips"] == 1 and 0 <= row["distance"] <= 1.42 for row in rows.values())
    assert rows["real footage"] != rows["one still frame"] != rows["dubbed with its own speech"]
    names = ("mouth_l1", "mouth_ssim", "follows", "motion", "contrast")
    assert [set(scores) for scores in content["likeness"].values()] == [set(names)] * 2
    assert content["l1_to_copying"] > 1  # random weights draw noise
    assert all(name in result.out for name in names)
    assert ONE_CLIP in result.out


class PerfectExpert(torch.nn.Module):
    """An expert that finds its own sound closest, always."""

    def embed_faces(self, faces):
        return torch.nn.functional.one_hot((faces[:, 6].mean((1, 2)) * 255).round().long(), 256).float()

    def embed_audio(self, mel):
        return torch.nn.functional.one_hot(mel[:, 0, 0, 0].round().long(), 256).float()


class GuessingExpert(torch.nn.Module):
    """An expert whose embeddings have nothing to do with what it is shown."""

    def __init__(self):
        super().__init__()
        self.rng = torch.Generator().manual_seed(0)

    def embed_faces(self, faces):
        return torch.nn.functional.normalize(torch.randn(len(faces), 64, generator=self.rng))

    embed_audio = embed_faces


class Talk:
    """A clip whose every frame and sound says which it is, to PerfectExpert."""

    faces = np.repeat(np.arange(40), 96 * 96 * 3).reshape(40, 96, 96, 3).astype(np.uint8)
    times = np.arange(40)
    mel = np.repeat((np.round(np.arange(160) / 3.2) + 2)[:, None], 80, axis=1).astype(np.float32)

    def window_rows(self, hp, per_frame_mels):
        return np.arange(36)


def test_a_perfect_expert_has_full_sync_accuracy_and_a_guessing_one_that_of_chance():
    perfect, guessing = (
        Expert(array_networks("expert", network, FP32), hparams, "") for network in (PerfectExpert(), GuessingExpert())
    )
    for late, least, most in ((0, 0.95, 1.0), (9, 0.0, 0.55)):
        talk = Talk()
        talk.mel = talk.mel + late
        found = sync_accuracy(perfect, [talk])
        assert least <= found["accuracy"] <= most, found
        assert least <= found["of_eight"] <= most, found
    found = sync_accuracy(guessing, [Talk()] * 100)
    assert found["windows"] == 3600
    assert (found["of_eight"], found["pairs"]) == pytest.approx((0.125, 0.5), abs=0.03)
