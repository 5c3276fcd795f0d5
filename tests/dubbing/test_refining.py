"""Dubs with a refiner: which one is taken, where references come from, what it changes."""

import shutil

import cv2
import numpy as np
import pytest

import audio
from conftest import NARROW, save_person
from dubbing.networks import load_refiner
from dubbing.stages import ANOTHER_PERSON, COMPARED_EVERY, Refine
from footage import BOX, planes_of, record_of, write_video
from models.backend import Backend
from models.face_refiner import FaceRefiner, ReferenceBank
from portrait import SPEECH, portrait
from utils import weight_files


@pytest.fixture
def weights(tmp_path, generator):
    """A generator of the test's own, in a folder of its own."""
    folder = tmp_path / "weights"
    folder.mkdir()
    return shutil.copy(generator, folder / "generator.pth")


def fingerprint_of(generator) -> str:
    return weight_files.fingerprint(weight_files.read(generator)["state_dict"])


def save_refiner(path, generator, with_bank: bool = True, belongs: bool = True):
    pictures = np.random.default_rng(0).integers(0, 255, (3, 192, 192, 3), np.uint8)
    bank = ReferenceBank(pictures) if with_bank else None
    return save_person(path, bank, fingerprint_of(generator) if belongs else "of another")


def test_a_persons_refiner_beside_the_weights_is_taken_and_changes_the_mouth_alone(dub, weights, tmp_path):
    off, on = tmp_path / "off.mkv", tmp_path / "on.mkv"
    save_refiner(weights.with_name("person.safetensors"), weights)
    common = [*BOX, "--checkpoint_path", weights, "--codec", "ffv1", "--preview", 0.4, "--no_score"]
    assert dub(*common, "--outfile", off, "--refine", "off").code == 0
    assert dub(*common, "--outfile", on).code == 0
    assert record_of(off)["refiner"] is None
    record = record_of(on)
    assert record["refiner"].pop("distance") > 0  # of the bank's pictures from the dubbed person
    assert record["refiner"] == {
        "file": str(weights.with_name("person.safetensors")), "size": 192, "references": "person",
        "frames": record["dubbed"],
    }  # fmt: skip
    plain, refined = planes_of(off)[5][0].astype(int), planes_of(on)[5][0].astype(int)
    changed = np.argwhere(plain != refined)
    assert changed.min(axis=0)[0] >= 116
    assert changed.max(axis=0)[0] < 177
    assert np.abs(plain - refined)[135:165, 205:245].mean() > 0.5


@pytest.mark.slow
def test_a_refiner_of_another_generator_is_taken_only_where_it_is_named(dub, weights, tmp_path):
    path = save_refiner(weights.with_name("person.safetensors"), weights, belongs=False)
    common = [*BOX, "--checkpoint_path", weights, "--preview", 0.2, "--no_score"]
    result = dub(*common)
    assert result.code == 0
    assert result.err.count("warning: ") == 1 and "was trained with another generator" in result.err
    assert record_of(tmp_path / "out.mp4")["refiner"] is None
    result = dub(*common, "--refine", path)
    assert "was trained with another generator" in result.err
    assert record_of(tmp_path / "out.mp4")["refiner"]["frames"] > 0
    path.write_bytes(path.read_bytes()[:1000])
    assert (dub(*common).code, dub(*common, "--refine", path).code) == (0, 2)  # damaged


@pytest.mark.slow
def test_a_face_that_comes_late_still_gives_references(dub, weights, tmp_path):
    wav = np.tile(audio.load_wav(SPEECH, 16_000)[16_000:32_000], 4)
    audio.save_wav(wav, tmp_path / "long.wav", 16_000)
    write_video(tmp_path / "late.mkv", [np.full((512, 512, 3), 90, np.uint8)] * 6 + [portrait()] * 2, fps=2)
    path = save_refiner(tmp_path / "any.safetensors", weights, with_bank=False)
    given = ["--face", tmp_path / "late.mkv", "--audio", tmp_path / "long.wav", "--checkpoint_path", weights]
    assert dub(*given, "--refine", path, "--no_score").code == 0
    assert record_of(tmp_path / "out.mp4")["refiner"]["frames"] == record_of(tmp_path / "out.mp4")["dubbed"] > 0
    assert record_of(tmp_path / "out.mp4")["refiner"]["references"] == "video"


def run_folder_of(weights):
    """The weights as those of a training run."""
    (weights.parent / "run.json").write_text("{}", encoding="utf-8")
    return weights.parent


def refiner_of(weights):
    found = load_refiner("auto", weights, fingerprint_of(weights), Backend("torch", "fp32", "cpu"))
    return found and found.path


def test_a_refiner_in_or_beside_the_folder_of_the_generators_run_is_taken_by_itself(weights, tmp_path, capsys):
    run = run_folder_of(weights)
    of_another, neighbour, inner = (
        folder / "person.safetensors" for folder in (run / "older", tmp_path / "anna", run / "refiner")
    )
    for path in (of_another, neighbour, inner):
        path.parent.mkdir()
    save_refiner(of_another, weights, belongs=False)
    assert refiner_of(weights) is None
    save_refiner(neighbour, weights)
    assert refiner_of(weights) == neighbour
    save_refiner(inner, weights)
    assert refiner_of(weights) == inner
    save_refiner(of_another, weights)
    assert refiner_of(weights) is None
    assert "--refine can name one" in capsys.readouterr().err
    (run / "run.json").unlink()  # weights for anyone
    assert refiner_of(weights) is None


def test_a_refiner_of_another_person_is_warned_about_once(capsys):
    rng = np.random.default_rng(0)

    def person(seed: int, count: int) -> np.ndarray:
        """Pictures that vary a little around one."""
        base = np.random.default_rng(seed).integers(0, 255, (8, 8, 3)).astype(np.float32)
        some = [cv2.resize(base + rng.normal(0, 12, base.shape), (192, 192)) for _ in range(count)]
        return np.clip(some, 0, 255).astype(np.uint8)

    refiner = FaceRefiner(None, NARROW, ReferenceBank(person(1, 9)))
    same, other = Refine(refiner, refiner.bank), Refine(refiner, refiner.bank)
    for _ in range(20):
        same.compare_with_person(person(1, COMPARED_EVERY))
        other.compare_with_person(person(2, COMPARED_EVERY))
    assert same.record()["distance"] < 1 < ANOTHER_PERSON < other.record()["distance"]
    assert capsys.readouterr().err.count("is a refiner of another person") == 1
