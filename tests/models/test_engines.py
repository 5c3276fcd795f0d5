"""What OpenVINO draws is what PyTorch draws; what it needs of weights is prepared once and kept."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from conftest import NARROW
from engines import inputs, load, need
from metrics.experts import load_expert
from metrics.sync_offset import score_distances
from models import face_refiner
from models.engines import openvino_engine, prepare, quantization, store
from models.engines.choice import Choice
from models.published import BUNDLED_EXPERT
from models.reference_bank import ReferenceBank
from models.refiner import Refiner
from utils.errors import InputError
from utils.files import CACHE_FOLDER, cache_folder

ROOT = Path(__file__).resolve().parents[2]


def test_openvino_draws_what_pytorch_draws_from_what_was_prepared_before(generator, prepared_copy, prepared_here):
    faces, mels = inputs()
    plain, hp = load(generator, "torch", "fp32")
    prepared, prepared_hp = load(generator, "openvino", "fp32")
    assert np.abs(plain(faces, mels).astype(int) - prepared(faces, mels)).max() <= 1
    assert hp == prepared_hp == NARROW
    assert plain.fingerprint() == prepared.fingerprint()
    assert prepared_here == []


def test_a_face_is_the_same_however_many_come_with_it(generator, prepared_copy):
    faces, mels = inputs(6)
    engine, _ = load(generator, "openvino", "fp32")
    together = engine(faces, mels)
    for row in range(6):
        assert (engine(faces[row : row + 1], mels[row : row + 1]) == together[row]).all()


def test_damage_to_what_was_prepared_is_noticed(generator, prepared_copy, prepared_here):
    faces, mels = inputs(2)
    wanted = load(generator, "openvino", "fp32")[0](faces, mels)
    (folder,) = prepared_copy.iterdir()
    content = bytearray((folder / "generator.bin").read_bytes())
    content[1000] ^= 255
    (folder / "generator.bin").write_bytes(content)
    assert (load(generator, "openvino", "fp32")[0](faces, mels) == wanted).all()
    assert prepared_here == ["generator"]
    assert store._read(folder)["fingerprint"]


def test_what_another_process_has_prepared_meanwhile_stays_in_its_place(
    generator, prepared_copy, tmp_path, monkeypatch
):
    (folder,) = prepared_copy.iterdir()
    ready = folder.rename(tmp_path / "ready")

    def both_at_once(wanted, places):
        shutil.copytree(ready, places[0])
        shutil.copytree(ready, folder)
        (folder / "in use").touch()

    monkeypatch.setattr(store, "prepare", both_at_once)
    faces, mels = inputs(2)
    assert load(generator, "openvino", "fp32")[0](faces, mels).shape == faces.shape
    assert (folder / "in use").exists()
    assert [path.name for path in prepared_copy.iterdir()] == [folder.name]


@pytest.mark.parametrize("fault", ["no folder", "full", "all full"])
def test_a_cache_folder_that_cannot_be_written_is_no_more_than_a_warning(
    generator, prepared_here, tmp_path, monkeypatch, capsys, fault
):
    cache, save_model = tmp_path / "cache", openvino_engine.openvino().save_model

    def save(model, path, **settings):
        if fault == "all full" or path.is_relative_to(cache):
            raise RuntimeError("basic_ios::clear: iostream error")  # what OpenVINO says on a full disk
        save_model(model, path, **settings)

    if fault == "no folder":
        cache.write_text("a file where the folder should be")
    monkeypatch.setattr(openvino_engine.openvino(), "save_model", save)
    monkeypatch.setenv(CACHE_FOLDER, str(cache))
    faces, mels = inputs(2)
    if fault == "all full":
        with pytest.raises(InputError, match="make room"):
            load(generator, "openvino", "fp32")
    else:
        assert load(generator, "openvino", "fp32")[0](faces, mels).shape == faces.shape
        assert "cannot keep the prepared weights" in capsys.readouterr().err
    assert not [*cache.rglob("*.xml")]


def test_what_the_other_process_finds_wrong_is_raised_here_and_nothing_is_kept(expert, tmp_path, monkeypatch):
    need("openvino")
    monkeypatch.setenv(CACHE_FOLDER, str(tmp_path / "cache"))
    monkeypatch.setattr(store.subprocess, "run", refuse_in_this_process)
    with pytest.raises(InputError, match=r"is a lip-sync expert .*; a generator \(Wav2Lip\) is needed here"):
        load(expert, "openvino", "fp32")
    assert list(cache_folder("engines").iterdir()) == []


def refuse_in_this_process(command, **_):
    """As subprocess.run, for the command that prepares weights."""
    prepare.main(json.loads(command[3]), list(map(Path, command[4:])))
    return SimpleNamespace(returncode=0)


def test_a_process_that_dies_is_an_error_in_one_line(generator, tmp_path, monkeypatch):
    need("openvino")
    monkeypatch.setenv(CACHE_FOLDER, str(tmp_path / "cache"))
    monkeypatch.setattr(store.sys, "executable", shutil.which("false") or pytest.skip("needs `false`"))
    with pytest.raises(InputError, match=r"preparing it for OpenVINO failed .*--engine torch does without"):
        load(generator, "openvino", "fp32")


def test_a_process_that_prepares_weights_ends_with_the_one_that_started_it(generator, tmp_path):
    command = [sys.executable, "-m", "models.engines.prepare"]
    wanted = {"network": "generator", "path": str(generator), "overrides": "", "int8": False}
    with subprocess.Popen(
        [*command, json.dumps(wanted), tmp_path / "made"], cwd=ROOT, stdin=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        _, err = process.communicate(timeout=60)  # closes stdin, as the system does when a process ends
    assert (process.returncode, err) == (1, b"")
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize(("bf16", "fastest"), [(0.5, "bf16"), (0.9, "fp32"), (2.0, "fp32")])
def test_bf16_is_the_format_only_where_it_is_much_faster(prepared, monkeypatch, bf16, fastest):
    from models.engines import openvino_engine as engine

    (folder,) = prepared.iterdir()
    model = engine.core().read_model(folder / "generator.xml")
    now = [0.0]
    seconds = {"fp32": 1.0, "bf16": bf16}

    def compiled(model, number_format, batch_size):
        def network(inputs):
            now[0] += seconds[number_format]

        return network

    monkeypatch.setattr(engine, "compiled", compiled)
    monkeypatch.setattr(engine, "_is_here", lambda precision: True)
    monkeypatch.setattr(engine.time, "perf_counter", lambda: now[0])
    assert engine.fastest_format(model) == fastest


def test_openvino_reports_nothing_to_its_makers(prepared):
    assert sys.modules["openvino_telemetry"] is None


ENDS_IN_ANY_ORDER = """
import signal, sys
from models.engines import openvino_engine as engine

networks = [engine.compiled(engine.core().read_model(sys.argv[1]), "fp32", 2) for _ in range(3)]
while networks:
    networks.pop(0)
try:
    signal.raise_signal(signal.SIGINT)
except KeyboardInterrupt:
    print("interrupted")
"""


def test_ctrl_c_after_networks_have_come_and_gone_is_no_crash(prepared):
    (folder,) = prepared.iterdir()
    command = [sys.executable, "-c", ENDS_IN_ANY_ORDER, folder / "generator.xml"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "interrupted\n"), done.stderr


def test_a_dub_by_openvino_says_so(dub, prepared_copy, tmp_path):
    result = dub("--engine", "openvino", "--precision", "fp32", "--no_score")
    assert result.code == 0
    record = json.loads((tmp_path / "out.mp4.json").read_text(encoding="utf-8"))
    assert (record["engine"], record["precision"], record["device"]) == ("openvino", "fp32", "cpu")


@pytest.mark.parametrize("weights", ["narrow", "bundled"])
def test_scores_and_offsets_are_those_of_pytorch(expert, prepared_copy, weights):
    path = expert if weights == "narrow" else BUNDLED_EXPERT
    clip, mel = talking_clip()
    starts = np.arange(len(clip) - 4)
    distances = [
        load_expert(path, Choice(engine, "fp32", "cpu")).distances(clip, starts, starts, mel)
        for engine in ("torch", "openvino")
    ]
    np.testing.assert_allclose(*distances, atol=1e-3)
    ours, theirs = map(score_distances, distances)
    assert (ours.offset, ours.windows) == (theirs.offset, theirs.windows)


def talking_clip(count=60):
    """Faces that are not alike, uint8 BGR [N, 96, 96, 3], and a mel of as long, float32 [80, columns]."""
    faces, mels = quantization.calibration_set()
    mel = np.concatenate(mels[:, 0], axis=1)[:, : count * 16 // 5]
    return faces[np.arange(count) % len(faces)], np.ascontiguousarray(mel)


def save_person(path, bank):
    """A narrow refiner that changes something, with this bank."""
    hp = NARROW.override("refiner_size=192,refiner_width=0.125,refiner_references=2")
    torch.manual_seed(0)
    network = Refiner(hp.refiner_size, hp.refiner_width)
    torch.nn.init.normal_(network.output.weight, std=0.05)
    face_refiner.save(path, network.state_dict(), hp, bank, "of a generator")
    return path


def test_faces_are_refined_as_by_pytorch(prepared_copy, tmp_path):
    shown = np.random.default_rng(0).integers(0, 256, (5, 192, 192, 3), np.uint8)
    path = save_person(tmp_path / "person.safetensors", ReferenceBank(shown[:3]))
    plain, prepared = (face_refiner.load(path, Choice(engine, "fp32", "cpu")) for engine in ("torch", "openvino"))
    assert (prepared.generator, len(prepared.bank), prepared.size) == ("of a generator", 3, 192)
    given = shown[:, ::2, ::2], shown, prepared.bank
    refined = prepared(*given)
    assert np.abs(plain(*given).astype(int) - refined).max() <= 1
    assert (refined[:, 120:] != shown[:, 120:]).any()


SHOW = """
import sys
import inference
from utils import cli
try:
    cli.run(inference.main, inference.parse_args, sys.argv[1:])
finally:
    print(*sorted({name.partition(".")[0] for name in sys.modules}), file=sys.stderr)
"""


@pytest.mark.slow
@pytest.mark.parametrize("face", ["found", "given", "listed"])
def test_a_dub_of_prepared_weights_imports_no_pytorch(dub, prepared_copy, talking, generator, tmp_path, face):
    person = save_person(tmp_path / "person.safetensors", None)
    where = ["--face_detector", "retinaface", "--no_cache"] if face == "found" else ["--box", 57, 177, 178, 273]
    flags = ["--engine", "openvino", "--precision", "fp32", "--refine", person, *where]
    assert dub("--audio", talking, *flags, "--preview", 0.2).code == 0  # prepares expert and refiner
    outfile, listed = tmp_path / "again.mp4", tmp_path / "jobs.csv"
    listed.write_text(f"face,audio,outfile\n{talking},{talking},{outfile}\n")
    jobs = ["--jobs", listed] if face == "listed" else ["--face", talking, "--audio", talking, "--outfile", outfile]
    command = [*jobs, "--checkpoint_path", generator, *flags]
    done = subprocess.run(
        [sys.executable, "-c", SHOW, *map(str, command)], cwd=ROOT, capture_output=True, text=True, encoding="utf-8"
    )
    assert done.returncode == 0, done.stderr
    imported = set(done.stderr.splitlines()[-1].split())
    assert not imported & {"torch", "torchvision", "librosa", "numba", "scipy", "nncf"}
    assert imported >= {"openvino", "numpy", "av"}
    assert "prepared for this machine" not in done.stderr
    record = json.loads(Path(f"{outfile}.json").read_text(encoding="utf-8"))
    assert (record["sync"]["windows"] > 0, record["refiner"]["frames"] > 0) == (True, True)
