"""--check and --still: what is said and drawn before a dub; who is followed, and heads that do not stand upright."""

import json
import os
import shlex
from dataclasses import asdict
from pathlib import Path

import cv2
import numpy as np
import pytest

import audio
import inference
from demo import showcase
from dubbing import Options
from dubbing.check import check, command
from dubbing.faces import FaceFinder
from dubbing.landmarks import limits
from dubbing.samples import sample_faces
from dubbing.source import Source
from footage import write_video
from media import yuv
from media.opening import is_dub
from portrait import portrait
from utils.settings import from_args

RATE = 16_000


@pytest.fixture(scope="module")
def couple(tmp_path_factory) -> Path:
    """Half a second of the same portrait twice, side by side."""
    return write_video(tmp_path_factory.mktemp("couple") / "a couple.mp4", [np.hstack([portrait(), portrait()])] * 10)


def test_a_check_of_good_footage_finds_nothing_and_draws_faces_and_mouths(generator, talking, speech, tmp_path):
    options = Options(checkpoint_path=generator, no_score=True, keep_length=True, preview=0.4)
    report = check(talking, speech, tmp_path / "out.mp4", options)
    assert report.problems == []
    assert [face.followed for face in report.faces] == [True]
    x1, y1, x2, y2 = report.faces[0].box
    assert x1 < 220 < x2 and y1 < 147 < y2
    assert {path.name for path in tmp_path.iterdir()} == {"out.mp4.faces.png", "out.mp4.check.png"}
    assert report.estimate is not None and report.estimate.frames == 10
    assert 0 < report.estimate.faces < report.estimate.seconds
    assert json.loads(json.dumps(asdict(report)))["mouths"] == str(tmp_path / "out.mp4.check.png")
    assert report.text().splitlines()[-1] == report.command
    assert not report.own_mouths and "own" not in report.text()  # of half a second none are taken
    mouths = cv2.imread(report.mouths)
    assert mouths.shape[1] > 3 * mouths.shape[0] / 2 - 10  # three, in two rows


@pytest.mark.slow
def test_a_check_says_what_is_wrong_and_exits_with_2_where_no_dub_would_be_made(
    dub, couple, speech, generator, tmp_path, script
):
    audio.save_wav(np.clip(audio.load_wav(speech, RATE) * 20, -1, 1), tmp_path / "clipped.wav", RATE)
    short = ["--check", "--preview", 0.2, "--no_score", "--face", couple, "--audio"]
    said = dub(*short, tmp_path / "clipped.wav")
    assert said.code == 0
    assert "several people in 100% of the frames" in said.out and "clipped sound" in said.out
    audio.save_wav(np.zeros(RATE, np.float32), tmp_path / "silent.wav", RATE)
    said = dub(*short, tmp_path / "silent.wav")
    assert said.code == 2
    assert "silent.wav: is silent" in said.out
    assert not (tmp_path / "out.mp4").exists()
    without_speech = ["--check", "--face", couple, "--checkpoint_path", generator, "--outfile", tmp_path / "x.mp4"]
    report = json.loads(script("inference", *without_speech, "--json", "--no_score").out)
    assert report["estimate"] is None
    assert "--audio SPEECH" in report["command"]


@pytest.mark.parametrize("mode", ["--check", "--still"])
def test_checks_and_stills_obey_the_options_of_a_dub(dub, tmp_path, mode):
    lying = write_video(tmp_path / "lying.mp4", [np.rot90(portrait())] * 10)
    assert "--rotate" in (said := dub(mode, "--face", lying, "--no_score")).out + said.error
    assert said.code == 2


@pytest.mark.skipif(os.name == "nt", reason="another way of quoting")
def test_the_command_of_a_check_gives_the_same_options():
    options = Options(pads=(0, 20, 0, 0), face_at=(12.5, 30), rotate=True, checkpoint_path=Path("my weights.pth"))
    words = shlex.split(command(Path("it's.mp4"), Path("ü.wav"), Path("o.mp4"), options))
    args = inference.parse_args(words[2:])
    assert from_args(Options, args) == options
    assert (args.face, args.audio, args.outfile) == (Path("it's.mp4"), Path("ü.wav"), Path("o.mp4"))


def test_a_still_is_one_frame_beside_its_source_in_a_png_and_replaces_no_other_picture(dub, tmp_path):
    told = json.loads(dub("--preview", 0, "--json").out)
    assert is_dub(Path(told["outfile"]))
    assert told["outfile"] == str(tmp_path / "out.mp4.still.png") and 0 <= told["time"] < 1
    assert [path.name for path in tmp_path.iterdir()] == ["out.mp4.still.png"]  # out.mp4.png is of --report
    source, result = np.split(cv2.imread(told["outfile"]), 2, axis=1)
    difference = np.abs(source.astype(int) - result).mean(axis=2)
    assert difference[300:450, 150:330].mean() > 8  # an untrained network paints grey
    assert difference[40:200].mean() < 2
    cv2.imencode(".png", portrait())[1].tofile(tmp_path / "photo.png")
    for name, said in (("photo.png", "--overwrite"), ("photo.jpg", ".png")):
        refused = dub("--still", "--outfile", tmp_path / name)
        assert refused.code == 2 and said in refused.error


def test_it_says_who_of_several_people_is_followed_and_a_choice_that_misses_lists_them(dub, couple, tmp_path):
    for flag, value in (("--face_at", "10,500"), ("--face_index", 2)):
        missed = dub("--face", couple, flag, value)
        assert missed.code == 2
        assert f"{flag} {value}" in missed.error and "0 at 22" in missed.error and "1 at 73" in missed.error
        assert cv2.imread(str(tmp_path / "out.mp4.faces.png")).shape == (512, 1024, 3)
    assert not (tmp_path / "out.mp4").exists()
    short = ["--face", couple, "--preview", 0.2, "--no_score"]
    said = dub(*short).out
    assert "several people" in said and "--face_at" in said
    assert "several people" not in dub(*short, "--face_index", 1).out


def test_teeth_and_turned_heads_are_counted():
    finder = FaceFinder(Source(showcase.PEOPLE[0].face, Options()), 2.0, "cpu")
    samples = sample_faces(finder, [0.1, 1.3])  # the mouth closed, and with teeth
    faces = samples.choose(finder)[0].followed
    pictures = [yuv.to_bgr(frame.picture) for frame in samples.frames]
    assert limits(pictures, faces) == ["teeth in 1 of 2 frames"]
    assert limits(pictures[:1], faces[:1]) == []
    turned = faces[0].copy()
    turned[9] = turned[7]  # the nose below the left eye
    assert "a head turned" in " ".join(limits(pictures[:1], [turned]))
