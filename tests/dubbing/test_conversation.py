"""Several people in one dub: whose mouth follows which voice, the sound of all, whoever speaks, and the record."""

from dataclasses import replace
from itertools import islice
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import audio
from demo import showcase
from dubbing import Dubber, Options, turns
from dubbing.check import check
from dubbing.jobs import read_jobs
from dubbing.speech import load_speeches
from dubbing.voices import Part, read_voices, voices_of
from footage import planes_of, record_of, write_video
from hparams import hparams
from media.reader import VideoReader
from media.sound import mix, read_audio
from models.published import BUNDLED_GENERATOR
from portrait import SPEECH
from utils.errors import InputError

RATE = 16_000
MIDDLE = 360  # pixels, between the two people
REST = hparams.sample_rate // hparams.hop_size // 2  # columns after the end of speech from which on a mouth rests


@pytest.fixture(scope="module")
def talk(tmp_path_factory) -> Path:
    """Two people side by side for a second."""
    clips = [islice(VideoReader(person.face).frames(), 25) for person in showcase.PEOPLE[:2]]
    pictures = [np.hstack([frame.image for frame in frames]) for frames in zip(*clips, strict=True)]
    return write_video(tmp_path_factory.mktemp("talk") / "talk.mp4", pictures)


@pytest.fixture(scope="module")
def voices(tmp_path_factory) -> SimpleNamespace:
    """Different sentences: long ones of a second and a short one."""
    folder, wav = tmp_path_factory.mktemp("voices"), audio.load_wav(SPEECH, RATE)
    parts = {"anna": (1.0, 2.0), "other": (3.0, 4.0), "ben": (2.0, 3.0), "short": (2.0, 2.3)}
    for name, (start, end) in parts.items():
        audio.save_wav(wav[int(start * RATE) : int(end * RATE)], folder / f"{name}.wav", RATE)
    return SimpleNamespace(folder=folder, **{name: folder / f"{name}.wav" for name in parts})


@pytest.fixture(scope="module")
def options() -> Options:
    return Options(checkpoint_path=BUNDLED_GENERATOR, precision="fp32", own_pixels="off", no_score=True, codec="ffv1")


@pytest.fixture(scope="module")
def dubs(talk, voices, options, tmp_path_factory) -> dict[str, Path]:
    """Of the left person's voice and the right one's: both long, another one to the left, a short one to the right."""
    folder = tmp_path_factory.mktemp("dubs")
    said = {
        "both": {0: voices.anna, 1: voices.ben},
        "other": {0: voices.other, 1: voices.ben},
        "short": {0: voices.anna, 1: voices.short},
        "one": {1: voices.ben},
    }
    dubber = Dubber(options)
    for name, files in said.items():
        dubber.dub(talk, files, folder / f"{name}.mkv")
    return {name: folder / f"{name}.mkv" for name in said}


def luma(path: Path) -> np.ndarray:
    return np.stack([planes[0] for planes in planes_of(path)]).astype(int)


def test_each_mouth_moves_with_its_own_voice_and_not_with_the_others(dubs):
    both, other = luma(dubs["both"]), luma(dubs["other"])
    left, right = np.split(np.abs(both - other), [MIDDLE], axis=2)
    assert left.max(axis=(1, 2)).min() > 0  # in every frame
    assert right.max() == 0


def test_who_has_no_voice_stays_as_filmed(dubs, talk):
    one, both, source = luma(dubs["one"]), luma(dubs["both"]), luma(talk)
    assert (one[:, :, :MIDDLE] == source[:, :, :MIDDLE]).all()
    assert np.abs(one - both)[:, :, MIDDLE:].max() <= 1  # rounding depends on how many faces are drawn together


def test_whoever_is_silent_rests(dubs, voices, options):
    both, short = luma(dubs["both"]), luma(dubs["short"])
    left, right = np.split(np.abs(both - short), [MIDDLE], axis=2)
    assert left.max() == 0
    assert right[20].max() > 0  # one speaks, the other rests
    speeches = load_speeches(voices_of({0: voices.anna, 1: voices.short}), options, hparams)
    assert speeches[0].mel.shape == speeches[1].mel.shape and speeches[1].seconds == 1.0
    assert (speeches[1].mel[:, -REST:] == -hparams.max_abs_value).all()
    assert speeches[1].silent > 0.6


def test_the_sound_is_that_of_all_voices(dubs, voices):
    heard = read_audio(dubs["both"], RATE)
    told = sum(read_audio(path, RATE) for path in (voices.anna, voices.ben))
    assert len(heard) == pytest.approx(len(told), abs=10)
    assert np.corrcoef(heard[: len(told)], told[: len(heard)])[0, 1] > 0.999


def test_voices_keep_their_levels_and_together_do_not_clip(tmp_path):
    tone = np.sin(2 * np.pi * 220 * np.arange(RATE) / RATE)
    for name, level in (("quiet", 0.3), ("loud", 0.9)):
        audio.save_wav(level * tone, tmp_path / f"{name}.wav", RATE)
    quiet, loud = tmp_path / "quiet.wav", tmp_path / "loud.wav"
    path, lowered = mix([Part(quiet), Part(quiet, 2.0)], 3.0, tmp_path)
    heard = read_audio(path, RATE)
    assert lowered == 0.0 and len(heard) == 3 * RATE
    peaks = [np.abs(heard[n * RATE :][100 : RATE - 100]).max() for n in range(3)]
    assert peaks == pytest.approx([0.3, 0, 0.3], abs=2e-3)
    path, lowered = mix([Part(loud), Part(loud)], 1.0, tmp_path)
    assert lowered == pytest.approx(20 * np.log10(1.8), abs=0.1)
    heard = read_audio(path, RATE)
    assert 0.98 < np.abs(heard).max() <= 1.0
    assert np.corrcoef(heard, tone)[0, 1] > 0.9999


def test_the_record_tells_of_every_person(dubs, voices):
    record = record_of(dubs["short"])
    assert [person["person"] for person in record["people"]] == ["0", "1"]
    assert [person["audio"] for person in record["people"]] == [str(voices.anna), str(voices.short)]
    assert [person["frames"] for person in record["people"]] == [25, 25]
    assert record["people"][0]["ranges"] == [[0.0, 0.96]]
    assert record["people"][1]["parts"] == [[str(voices.short), 0.0]]
    assert (record["frames"], record["dubbed"], record["unsure"]) == (25, 25, [])


def test_a_table_says_when_each_is_heard(talk, voices, options, tmp_path):
    table = voices.folder / "talk.csv"
    table.write_text("person,audio,start\n0,short.wav,0.5\n0,short.wav,\n1,ben.wav,0\n", encoding="utf-8")
    read = read_voices([str(table)])
    assert read == {0: [Part(voices.short, 0.5), Part(voices.short)], 1: [Part(voices.ben)]}
    assert voices_of({0: [(voices.short, 0.5), (voices.short, 0)], 1: voices.ben}) == read
    speech = load_speeches(read, options, hparams)[0]
    loud = speech.mel.max(axis=0) > -2
    assert loud[:20].any() and not loud[32:36].any() and loud[42:60].any()  # of 80 columns


def test_places_name_people_and_a_list_of_jobs_may_hold_conversations(voices, tmp_path):
    named = [f"640,300.5={voices.anna}", f"1={voices.ben}"]
    assert read_voices(named) == {(640.0, 300.5): [Part(voices.anna)], 1: [Part(voices.ben)]}
    table = voices.folder / "jobs.csv"
    rows = "face,voice,outfile\nf.mp4,0=anna.wav; 1=ben.wav,o.mp4\nf.mp4,0=none.wav,p.mp4\n"
    table.write_text(rows, encoding="utf-8")
    good, bad = read_jobs(table, Options(), tmp_path)
    assert good.audio == {0: [Part(voices.anna)], 1: [Part(voices.ben)]}
    assert "--voice 0" in str(bad) and "none.wav: no such file" in str(bad)


def test_a_wrong_voice_is_refused_in_one_line_that_names_it(talk, voices, options, script, tmp_path):
    (tmp_path / "bad.csv").write_text("person,audio,start\n0,x.wav,soon\n", encoding="utf-8")
    audio.save_wav(np.zeros(RATE), tmp_path / "silence.wav", RATE)
    flags = ["--face", talk, "--outfile", tmp_path / "out.mp4", "--checkpoint_path", options.checkpoint_path]
    for given, said in (
        (["anna.wav"], "give 0=FILE"), (["left=anna.wav"], "left: give 0=FILE"), (["0=none.wav"], "none.wav: no such"),
        ([tmp_path / "bad.csv"], "soon: give a number"), ([f"0={tmp_path / 'silence.wav'}"], "is silent"),
        ([f"7={voices.anna}"], "7"), ([f"0={voices.anna}", "--audio", voices.ben], "--audio and --voice"),
        ([f"0={voices.anna}", "--box", 1, 2, 3, 4], "--voice and --box"),
    ):  # fmt: skip
        refused = script("inference", *flags, "--voice", *given)
        assert (refused.code, len(refused.error.splitlines())) == (2, 1)
        assert said in refused.error and "--voice" in refused.error
    assert not (tmp_path / "out.mp4").exists()


def test_a_check_shows_every_mouth_and_repeats_the_command(talk, voices, options, tmp_path):
    both = {0: voices.anna, 1: voices.ben}
    report = check(talk, both, tmp_path / "out.mkv", replace(options, preview=0.4))
    assert report.problems == [] and [face.followed for face in report.faces] == [True, True]
    assert "several people" not in " ".join(report.remarks)
    assert f"--voice 0={voices.anna} 1={voices.ben}" in report.command
    assert report.estimate and report.mouths


def test_turns_follow_the_better_fit_and_nobody_speaks_where_none_fits():
    gains = np.random.default_rng(0).normal(0, 0.1, (2, 400)).astype(np.float32)
    gains[0, :150] += 0.6
    gains[1, 150:250] += 0.6
    gains[0, 60:65] -= 0.6  # too short for a turn
    found = turns.turns(gains)
    for number, start, end in ((1, 0, 145), (2, 155, 245), (turns.NOBODY, 255, 400)):
        assert (found[start:end] == number).all()


def test_only_whoever_speaks_is_dubbed(talk, voices, options, tmp_path, monkeypatch, expert):
    with pytest.raises(InputError, match="no sound, which tells who speaks"):
        Dubber(replace(options, speaking_only=True)).dub(talk, voices.anna, tmp_path / "out.mkv")
    numbers = np.repeat([1, 2, turns.NOBODY], [10, 10, 5])
    monkeypatch.setattr("dubbing.dubber.speakers", lambda *_: numbers)
    record = Dubber(replace(options, speaking_only=True)).dub(talk, voices.anna, tmp_path / "out.mkv")
    assert [person["ranges"] for person in record.people] == [[[0.0, 0.36]], [[0.4, 0.76]]]
    assert (record.dubbed, record.unchanged) == (20, 5)
    assert record.audio == str(voices.anna)
    changed = np.abs(luma(tmp_path / "out.mkv") - luma(talk))
    left, right = (half.max(axis=(1, 2)) > 8 for half in np.split(changed, [MIDDLE], axis=2))
    assert left.tolist() == [True] * 10 + [False] * 15
    assert right.tolist() == [False] * 10 + [True] * 10 + [False] * 5
