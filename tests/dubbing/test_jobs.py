"""Lists of dubs: what a row may set, where its paths are, which files may not be the same; networks that dubs share."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import torch

from conftest import save_network
from dubbing import Dubber, Options, dubber
from dubbing.jobs import read_jobs
from footage import record_of
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
    row = {"face": "f.mp4", "audio": "sub/a.wav", "checkpoint_path": "k.pth", "final_audio": "mix.wav"}
    (folder / "mix.wav").write_bytes(b"x")
    row |= {"outfile": "out/o.mp4", "mouths_from": "other.mp4"}
    (job,) = read_jobs(write_list(folder / "jobs.json", row), Options(), tmp_path)
    assert (job.face, job.audio, job.outfile) == (folder / "f.mp4", folder / "sub/a.wav", folder / "out/o.mp4")
    assert (job.options.checkpoint_path, job.options.final_audio) == (folder / "k.pth", folder / "mix.wav")
    assert job.options.mouths_from == folder / "other.mp4"
    (folder / "jobs.csv").write_text(f"face,audio,outfile,box\n{tmp_path / 'f.mp4'},a.wav,o.mp4,{BOX}\n")
    (job,) = read_jobs(folder / "jobs.csv", Options(), tmp_path)
    assert (job.face, job.outfile, job.options.box) == (tmp_path / "f.mp4", folder / "o.mp4", (57, 177, 178, 273))


def test_no_job_writes_what_another_reads_or_writes(tmp_path):
    one = {"face": "f.mp4", "audio": "a.wav", "outfile": "o.mp4"}
    (tmp_path / "o.mp4").touch()
    (tmp_path / "sub").mkdir()
    for other, said in (
        ({"face": "o.mp4", "outfile": "p.mp4"}, "reads"), ({"audio": "./o.mp4", "outfile": "p.mp4"}, "reads"),
        ({"outfile": "p.mp4", "final_audio": "o.mp4"}, "reads"), ({"outfile": "./sub/../o.mp4"}, "writes"),
    ):  # fmt: skip
        jobs = read_jobs(write_list(tmp_path / "jobs.json", one, one | other), Options(), tmp_path)
        (wrong,) = (str(job) for job in jobs if isinstance(job, InputError))
        assert f"another job {said}" in wrong


def test_a_list_that_cannot_be_used_is_refused_in_one_line(tmp_path, script):
    for name, content, folder, said in [
        ("empty.csv", "face,audio\n", "out", "rows"),
        ("short.csv", "face\nx\n", "out", "audio"),
        ("broken.json", "[1", "out", "broken.json"),
        ("jobs.csv", "face,audio\nf,a\n", "one.mp4", "names a file"),
    ]:
        (tmp_path / name).write_text(content)
        bad = script("inference", "--jobs", tmp_path / name, "--outfile", tmp_path / folder)
        assert (bad.code, said in bad.error, "\n" in bad.error) == (2, True, False), bad.error


def test_a_job_may_name_its_own_weights_precision_and_batch(tmp_path, script, talking, speech, generator, monkeypatch):
    other = save_network(tmp_path / "other.pth", Wav2Lip)
    loaded, real = [], dubber.load_networks
    monkeypatch.setattr(dubber, "load_networks", lambda given: loaded.append(given.checkpoint_path.name) or real(given))
    common = {"face": str(talking), "audio": str(speech), "box": BOX}
    jobs = write_list(
        tmp_path / "jobs.json",
        common | {"outfile": "1.mp4"},
        common | {"outfile": "2.mp4", "pads": "0 0 0 0"},
        common | {"outfile": "3.mp4", "checkpoint_path": "other.pth", "precision": "fp32", "wav2lip_batch_size": 3},
        common | {"outfile": "4.mp4", "checkpoint_path": "missing.pth"},
    )
    result = script("inference", "--jobs", jobs, "--checkpoint_path", generator, "--preview", 0.2, "--no_score")
    assert result.code == 1
    assert "job 4: " in result.error and "missing.pth" in result.error
    assert loaded == [generator.name, "other.pth", "missing.pth"]  # the second job shares the first one's
    records = [record_of(tmp_path / f"{n}.mp4") for n in (1, 2, 3)]
    assert [record["generator"]["file"] for record in records] == [str(generator), str(generator), str(other)]
    assert records[2]["precision"] == "fp32"


def test_every_job_fails_alone_whatever_it_raises(tmp_path, script, generator, talking, speech, monkeypatch):
    def dub(self, face, audio, outfile, progress):
        if face == speech:
            raise ZeroDivisionError("of a library")
        outfile.touch()

    monkeypatch.setattr(Dubber, "dub", dub)
    monkeypatch.setattr("inference.report", lambda *_: None)
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


def test_networks_are_shared_until_options_or_files_ask_for_others(generator, talking, speech, tmp_path):
    own = Path(shutil.copy(generator, tmp_path / "generator.pth"))
    options = Options(checkpoint_path=own, no_score=True, preview=0.1, box=tuple(map(int, BOX.split())))
    shared = Dubber(options)
    loaded = shared.networks
    assert loaded.fit(replace(options, pads=(1, 2, 3, 4)))
    assert not loaded.fit(replace(options, precision="fp32"))
    first = shared.dub(talking, speech, tmp_path / "out.mp4")
    assert shared.networks is loaded
    content = weight_files.read(own)
    torch.save({"state_dict": content["state_dict"], "hparams": content["hparams"]}, own)
    second = shared.dub(talking, speech, tmp_path / "out.mp4")
    assert second.generator["sha256"] == sha256(own) != first.generator["sha256"]
