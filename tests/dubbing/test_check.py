"""--check and --still: what is said and drawn before a dub."""

import json
import shlex
from dataclasses import asdict
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

import audio
from dubbing import Options
from dubbing.check import check, command
from dubbing.samples import loudest_times
from hparams import hparams
from media.files import is_tagged_png
from media.writer import VideoWriter
from portrait import portrait

RATE = 16_000


@pytest.fixture(scope="module")
def couple(tmp_path_factory):
    """Half a second of the same portrait twice, side by side."""
    path = tmp_path_factory.mktemp("couple") / "a couple.mp4"
    with VideoWriter(path, Fraction(25)) as writer:
        for n in range(12):
            writer.write(np.hstack([portrait(), portrait()]), n / 25)
    return path


def test_a_check_of_good_footage_finds_nothing_and_draws_faces_and_mouths(generator, talking, speech, tmp_path):
    options = Options(checkpoint_path=generator, no_score=True, keep_length=True, preview=0.4)
    report = check(talking, speech, tmp_path / "out.mp4", options)
    assert report.usable and report.problems == []
    assert [face.followed for face in report.faces] == [True]
    x1, y1, x2, y2 = report.faces[0].box
    assert x1 < 220 < x2 and y1 < 147 < y2
    assert {path.name for path in tmp_path.iterdir()} == {"out.mp4.faces.png", "out.mp4.check.png"}
    assert report.estimate is not None and report.estimate.frames == 10
    assert 0 < report.estimate.faces < report.estimate.seconds
    assert json.loads(json.dumps(asdict(report)))["mouths"] == str(tmp_path / "out.mp4.check.png")
    assert report.text().splitlines()[-1] == report.command
    mouths = cv2.imread(report.mouths)
    assert mouths.shape[1] > 3 * mouths.shape[0] / 2 - 10  # three, in two rows


@pytest.mark.slow
def test_a_check_says_what_is_wrong_and_exits_with_2_where_no_dub_would_be_made(dub, couple, speech, tmp_path):
    said = dub("--check", "--face", couple, "--no_score")
    assert said.code == 0
    assert "several people in 100% of the frames" in said.out
    audio.save_wav(np.zeros(RATE, np.float32), tmp_path / "silent.wav", RATE)
    said = dub("--check", "--audio", tmp_path / "silent.wav", "--no_score")
    assert said.code == 2
    assert "silent.wav: is silent" in said.out
    loud = audio.load_wav(speech, RATE)
    audio.save_wav(np.clip(loud * 20, -1, 1), tmp_path / "clipped.wav", RATE)
    assert "clipped sound" in dub("--check", "--audio", tmp_path / "clipped.wav", "--no_score").out
    assert not (tmp_path / "out.mp4").exists()


def two_tracks(path, first: np.ndarray, second: np.ndarray):
    """Sound with two tracks, float32 [samples]."""
    with av.open(str(path), "w") as out:
        tracks = [out.add_stream("pcm_s16le", rate=RATE, layout="mono") for _ in range(2)]
        for track, wav in zip(tracks, (first, second), strict=True):
            samples = (np.clip(wav, -1, 1) * 32767).astype(np.int16)[None]
            frame = av.AudioFrame.from_ndarray(samples, format="s16", layout="mono")
            frame.rate, frame.pts, frame.time_base = RATE, 0, Fraction(1, RATE)
            out.mux([*track.encode(frame), *track.encode(None)])
    return path


def test_a_check_listens_to_the_sound_track_that_is_dubbed_with(generator, talking, speech, tmp_path):
    wav = audio.load_wav(speech, RATE)[:RATE]
    sound = two_tracks(tmp_path / "two.mkv", wav, 20 * wav)
    options = Options(checkpoint_path=generator, no_score=True, audio_stream=1)
    assert any("clipped sound" in remark for remark in check(talking, sound, tmp_path / "out.mp4", options).remarks)


@pytest.mark.parametrize("mode", ["--check", "--still"])
def test_a_box_beyond_the_frame_is_refused_as_in_a_dub(dub, mode):
    refused = dub(mode, "--box", 0, 5000, 0, 5000, "--no_score")
    assert refused.code == 2
    assert "--box 0 5000 0 5000: does not lie inside the frame" in refused.error


def test_a_check_needs_no_speech_and_prints_json(dub, talking, generator, tmp_path, script):
    flags = ["--check", "--face", talking, "--checkpoint_path", generator, "--json", "--outfile", tmp_path / "x.mp4"]
    said = script("inference", *flags, "--no_score")
    assert said.code == 0
    report = json.loads(said.out)
    assert report["audio"] is None and report["estimate"] is None
    assert "--audio SPEECH" in report["command"]


def test_the_command_of_a_check_gives_the_same_options(monkeypatch):
    import inference
    from utils.cli import os as os_of_check

    monkeypatch.setattr(os_of_check, "name", "posix")
    options = Options(pads=(0, 20, 0, 0), face_at=(12.5, 30), rotate=True, checkpoint_path=Path("my weights.pth"))
    words = shlex.split(command(Path("it's.mp4"), Path("ü.wav"), Path("o.mp4"), options))
    from utils.options import from_args

    args = inference.parse_args(words[2:])
    assert from_args(Options, args) == options
    assert (args.face, args.audio, args.outfile) == (Path("it's.mp4"), Path("ü.wav"), Path("o.mp4"))


@pytest.mark.parametrize("flags", [["--still"], ["--preview", 0]])
def test_a_still_is_one_frame_beside_its_source_and_no_dub(dub, tmp_path, flags):
    assert dub(*flags).code == 0
    assert [path.name for path in tmp_path.iterdir()] == ["out.mp4.still.png"]  # out.mp4.png is of --report
    picture = cv2.imread(str(tmp_path / "out.mp4.still.png"))
    source, result = np.split(picture, 2, axis=1)
    difference = np.abs(source.astype(int) - result).mean(axis=2)
    assert difference[300:450, 150:330].mean() > 8  # an untrained network paints grey
    assert difference[40:200].mean() < 2


def test_a_still_goes_to_a_png_and_replaces_no_other_picture(dub, talking, tmp_path):
    assert dub("--still", "--outfile", tmp_path / "ö n e.png", "--pads", 0, 20, 0, 0).code == 0
    assert is_tagged_png(tmp_path / "ö n e.png")
    assert dub("--still", "--outfile", tmp_path / "ö n e.png").code == 0
    cv2.imencode(".png", portrait())[1].tofile(tmp_path / "photo.png")
    refused = dub("--still", "--outfile", tmp_path / "photo.png")
    assert refused.code == 2 and "--overwrite" in refused.error
    refused = dub("--still", "--outfile", tmp_path / "photo.jpg")
    assert refused.code == 2 and "a still is written as PNG" in refused.error


def test_a_still_is_told_of_as_json(dub, tmp_path):
    told = json.loads(dub("--still", "--json").out)
    assert told["outfile"] == str(tmp_path / "out.mp4.still.png")
    assert 0 <= told["time"] < 1


def test_preview_0_is_for_one_picture_alone(tmp_path, dub, script):
    assert dub("--preview", 0.05).code == 2
    (tmp_path / "jobs.csv").write_text("face,audio\na.mp4,b.wav\n")
    given = ["--jobs", tmp_path / "jobs.csv", "--outfile", tmp_path / "out", "--preview", 0]
    assert "--preview 0" in script("inference", *given).err


def test_the_loudest_moments_are_those_of_the_speech(speech):
    wav = np.random.default_rng(0).normal(0, 1e-4, 3 * RATE).astype(np.float32)
    for start in (0.5, 1.9):
        wav[int(start * RATE) : int((start + 0.2) * RATE)] += audio.load_wav(speech, RATE)[: int(0.2 * RATE)]
    times = loudest_times(audio.melspectrogram(wav), hparams, 3.0, 2)
    assert times == pytest.approx([0.54, 1.94], abs=0.12)
