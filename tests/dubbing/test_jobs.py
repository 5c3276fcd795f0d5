"""Lists of dubs: what a row may set, where its paths are, which files may not be the same."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from conftest import NARROW, save_network
from dubbing import Dubber, Options, networks
from dubbing.jobs import read_jobs
from models import Wav2Lip
from utils import weight_files
from utils.errors import InputError
from utils.files import sha256

BOX = "57 177 178 273"


def write_list(path, *rows: dict):
    path.write_text(json.dumps(list(rows)), encoding="utf-8")
    return path


def test_paths_in_a_list_are_relative_to_it(tmp_path):
    folder = tmp_path / "a list"
    folder.mkdir()
    row = {"face": "f.mp4", "audio": "sub/a.wav", "outfile": "out/o.mp4", "checkpoint_path": "k.pth"}
    (job,) = read_jobs(write_list(folder / "jobs.json", row), Options(), tmp_path)
    assert (job.face, job.audio, job.outfile) == (folder / "f.mp4", folder / "sub/a.wav", folder / "out/o.mp4")
    assert job.options.checkpoint_path == folder / "k.pth"
    (folder / "jobs.csv").write_text(f"face,audio,outfile\n{tmp_path / 'f.mp4'},a.wav,o.mp4\n", encoding="utf-8")
    (job,) = read_jobs(folder / "jobs.csv", Options(), tmp_path)
    assert (job.face, job.outfile) == (tmp_path / "f.mp4", folder / "o.mp4")


def test_a_refiner_in_a_list_is_a_file_beside_it_or_a_word(tmp_path):
    rows = [{"face": "f.mp4", "audio": "a.wav", "outfile": f"{n}.mp4"} for n in range(3)]
    named = [row | {"refine": value} for row, value in zip(rows, ("r.safetensors", "off", "auto"), strict=True)]
    jobs = read_jobs(write_list(tmp_path / "jobs.json", *named), Options(), tmp_path)
    assert [job.options.refine for job in jobs] == [str(tmp_path / "r.safetensors"), "off", "auto"]


def test_no_job_writes_what_another_reads_or_writes(tmp_path):
    one = {"face": "f.mp4", "audio": "a.wav", "outfile": "o.mp4"}
    (tmp_path / "o.mp4").touch()
    for other, said in (
        ({"face": "o.mp4", "audio": "a.wav", "outfile": "p.mp4"}, "another job reads"),
        ({"face": "f.mp4", "audio": "./o.mp4", "outfile": "p.mp4"}, "another job reads"),
        ({"face": "f.mp4", "audio": "a.wav", "outfile": "p.mp4", "final_audio": "o.mp4"}, "another job reads"),
        ({"face": "f.mp4", "audio": "a.wav", "outfile": "./sub/../o.mp4"}, "another job writes"),
    ):
        (tmp_path / "sub").mkdir(exist_ok=True)
        jobs = read_jobs(write_list(tmp_path / "jobs.json", one, other), Options(), tmp_path)
        (wrong,) = (str(job) for job in jobs if isinstance(job, InputError))
        assert said in wrong


def test_a_list_goes_into_a_folder_and_not_into_one_file(tmp_path):
    jobs = write_list(tmp_path / "jobs.json", {"face": "f.mp4", "audio": "a.wav"})
    with pytest.raises(InputError, match=r"one\.mp4: names a file; with --jobs give a folder"):
        read_jobs(jobs, Options(), tmp_path / "one.mp4")


def test_a_quiet_list_prints_nothing(tmp_path, script, generator, talking, speech):
    row = {"face": str(talking), "audio": str(speech), "box": BOX, "preview": 0.2}
    jobs = write_list(tmp_path / "jobs.json", row)
    given = ["--jobs", jobs, "--checkpoint_path", generator, "--outfile", tmp_path, "--no_score", "--quiet"]
    result = script("inference", *given)
    assert (result.code, result.out, result.err) == (0, "", "")


def test_a_job_may_name_its_own_weights_precision_and_batch(tmp_path, script, talking, speech, generator, monkeypatch):
    other = save_network(tmp_path / "other.pth", Wav2Lip)
    loaded, real = [], networks.load_generator
    monkeypatch.setattr(networks, "load_generator", lambda *given: loaded.append(given[0].name) or real(*given))
    common = {"face": str(talking), "audio": str(speech), "box": BOX}
    jobs = write_list(
        tmp_path / "jobs.json",
        common | {"outfile": "1.mp4"},
        common | {"outfile": "2.mp4", "pads": "0 0 0 0"},
        common | {"outfile": "3.mp4", "checkpoint_path": "other.pth", "precision": "fp32", "wav2lip_batch_size": 3},
        common | {"outfile": "4.mp4", "checkpoint_path": "missing.pth"},
    )
    result = script("inference", "--jobs", jobs, "--checkpoint_path", generator, "--preview", 0.2)
    assert result.code == 1
    assert "job 4: " in result.error
    assert "missing.pth: no such file" in result.error
    assert loaded == [generator.name, "other.pth"]  # the second job shares the first one's
    records = [json.loads((tmp_path / f"{n}.mp4.json").read_text(encoding="utf-8")) for n in (1, 2, 3)]
    assert [record["generator"]["file"] for record in records] == [str(generator), str(generator), str(other)]
    assert records[2]["precision"] == "fp32"


@pytest.mark.parametrize("content", [b"", b"\x80\x02damaged"])
def test_a_damaged_scorer_is_a_warning_and_the_dub_goes_on(dub, expert, tmp_path, monkeypatch, content):
    damaged = tmp_path / "lipsync_expert.pth"
    damaged.write_bytes(content)
    monkeypatch.setattr(networks, "EXPERTS", (damaged, expert))
    box = ["--box", *BOX.split(), "--preview", 0.2]
    result = dub(*box)
    assert result.code == 0
    assert result.err.count("warning: no sync score by") == 1
    assert "lipsync_expert.pth" in result.err
    monkeypatch.setattr(networks, "EXPERTS", (damaged,))
    assert dub(*box).code == 0
    assert json.loads((tmp_path / "out.mp4.json").read_text(encoding="utf-8"))["sync"] is None


def test_without_a_score_no_scorer_is_read(dub, tmp_path, monkeypatch):
    monkeypatch.setattr(networks, "load_expert", lambda *given: pytest.fail("a scorer is read"))
    assert dub("--box", *BOX.split(), "--preview", 0.2, "--no_score").code == 0
    assert json.loads((tmp_path / "out.mp4.json").read_text(encoding="utf-8"))["sync"] is None


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--preview", -1], "--preview -1.0: give at least"),
        (["--preview", "nan"], "--preview nan: give at least"),
        (["--fps", "inf"], "--fps inf: give 1 to 1000, or source"),
        (["--fps", "fast"], "--fps fast: give a number"),
    ],
)
def test_numbers_that_make_no_sense_get_one_line(dub, flags, said):
    result = dub(*flags)
    assert (result.code, said in result.error) == (2, True), result.error


def test_a_batch_that_is_made_smaller_is_told(dub, monkeypatch):
    monkeypatch.setattr("dubbing.plan.QUEUE_BYTES", 3_000_000)
    result = dub("--box", *BOX.split(), "--wav2lip_batch_size", 64, "--preview", 0.2)
    assert result.code == 0
    assert "--wav2lip_batch_size 64: 3, since" in result.out


def test_the_first_checkpoint_of_a_training_is_dubbed_into_a_folder(script, generator, talking, speech, tmp_path):
    checkpoint = tmp_path / "savedmodel" / "checkpoint_step000000001.pth"
    checkpoint.parent.mkdir()
    checkpoint.write_bytes(generator.read_bytes())
    result = script(
        "inference", "--checkpoint_path", checkpoint, "--face", talking, "--audio", speech,
        "--out-file", tmp_path / "output", "--box", *BOX.split(), "--preview", 0.2, "--no_score",
    )  # fmt: skip
    assert result.code == 0
    assert (tmp_path / "output" / "talking head_a speech.mp4").exists()


def test_networks_fit_options_that_ask_for_the_same_ones_until_a_file_is_replaced(generator, tmp_path):
    own = tmp_path / "own" / "generator.pth"
    own.parent.mkdir()
    shutil.copy(generator, own)
    options = Options(checkpoint_path=own, no_score=True)
    loaded = networks.load_networks(options)
    assert loaded.hp.width == NARROW.width
    assert loaded.fit(replace(options, pads=(1, 2, 3, 4)))
    assert not loaded.fit(replace(options, precision="fp32"))
    own.with_name("person.safetensors").touch()  # a refiner that `--refine auto` would look at
    assert not loaded.fit(options)
    assert networks.load_networks(replace(options, refine="off")).fit(replace(options, refine="off"))


def test_a_dubber_reads_weights_again_that_were_replaced_since_its_last_dub(generator, talking, speech, tmp_path):
    own = Path(shutil.copy(generator, tmp_path / "generator.pth"))
    dubber = Dubber(Options(checkpoint_path=own, no_score=True, preview=0.1, box=tuple(map(int, BOX.split()))))
    records, loaded = [], []
    for _ in range(2):
        records.append(dubber.dub(talking, speech, tmp_path / "out.mp4"))
        loaded.append(dubber.networks)
    content = weight_files.read(own)
    torch.save({"state_dict": content["state_dict"], "hparams": content["hparams"]}, own)
    records.append(dubber.dub(talking, speech, tmp_path / "out.mp4"))
    assert loaded[0] is loaded[1]
    assert records[0].generator == records[1].generator
    assert records[2].generator["sha256"] == sha256(own) != records[0].generator["sha256"]


def test_several_processes_are_refused_for_a_single_dub(dub, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    result = dub("--box", *BOX.split())
    assert (result.code, "give --jobs" in result.error) == (2, True)


def test_a_final_audio_in_a_list_is_a_file_beside_it(tmp_path):
    (tmp_path / "mix.wav").write_bytes(b"x")
    row = {"face": "f.mp4", "audio": "a.wav", "outfile": "o.mp4", "final_audio": "mix.wav"}
    (job,) = read_jobs(write_list(tmp_path / "jobs.json", row), Options(), tmp_path)
    assert job.options.final_audio == tmp_path / "mix.wav"


def test_every_job_fails_alone_whatever_it_raises(tmp_path, script, generator, talking, speech, monkeypatch):
    def dub(self, face, audio, outfile, progress):
        if face == speech:
            raise ZeroDivisionError("of a library")
        outfile.touch()

    monkeypatch.setattr(Dubber, "dub", dub)
    monkeypatch.setattr("inference.report", lambda record, request, results: None)
    good = {"face": str(talking), "audio": str(speech)}
    rows = [
        good | {"face": str(speech), "outfile": "0.mp4"}, good | {"outfile": "1.mp4"}, {"face": "f.mp4"},
        good | {"crf": "x"}, good | {"face": "nul\0.mp4"}, good | {"outfile": f"{'a' * 300}.mp4"},
        good | {"outfile": "6\n\u2028.mp4"}, good | {"outfile": "1.mp4"},
    ]  # fmt: skip
    jobs = write_list(tmp_path / "jobs.json", *rows)
    result = script("inference", "--jobs", jobs, "--checkpoint_path", generator, "--no_score")
    assert result.code == 1
    assert [line.split()[2] for line in result.error.splitlines()] == ["3:", "4:", "5:", "6:", "8:", "1:"]
    assert "ZeroDivisionError: of a library" in result.error
    assert {path.name for path in tmp_path.glob("*.mp4")} == {"1.mp4", "6\n\u2028.mp4"}
