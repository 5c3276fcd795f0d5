"""What README.md says to type works, in its order, in a folder that holds nothing but the footage."""

import re
import shlex
import shutil
from pathlib import Path

import pytest

from models.conversion import export
from models.published import BUNDLED_EXPERT, BUNDLED_GENERATOR

ROOT = Path(__file__).resolve().parent.parent
TEXT = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCK = r"^```{}\n(.*?)^```$"

SMALL = {  # what is added to a script's commands, so that they take seconds
    "inference": ["--preview", "0.4", "--no_cache"],
    "wav2lip_train": [
        "--max_steps", "2", "--num_workers", "0", "--hparams", "batch_size=2,eval_windows=2,eval_interval=2",
    ],
    "refiner_train": ["--max_steps", "2", "--num_workers", "0", "--hparams", "refiner_batch_size=2"],
    "finetune": ["--minutes", "0.01", "--refiner_minutes", "0.01", "--seconds", "0.4"],
}  # fmt: skip


def blocks(language: str) -> list[str]:
    return re.findall(BLOCK.format(language), TEXT, re.DOTALL | re.MULTILINE)


def commands() -> list[list[str]]:
    """The scripts that the README runs, with their arguments."""
    lines = [line for block in blocks("") for line in re.sub(r"\\\n\s*", "", block).splitlines()]
    lines += re.findall(r"`python (weights\.py [^`]+)`", TEXT)
    found = [line.partition("#")[0].strip().removeprefix("python ") for line in lines]
    return [shlex.split(line) for line in found if re.match(r"\w+\.py ", line) and "--demo" not in line]


@pytest.fixture
def newcomer(talking, speech, generator, expert, tmp_path, monkeypatch) -> Path:
    """The folder to work in: talk.mp4, speech.wav, my_videos, and narrow networks in place of the bundled weights."""
    for network, path in ((generator, BUNDLED_GENERATOR), (expert, BUNDLED_EXPERT)):
        export(network, tmp_path / path.relative_to(ROOT))
    (tmp_path / "my_videos").mkdir()
    for name in ("talk.mp4", "my_videos/1.mp4", "my_videos/2.mp4"):
        shutil.copyfile(talking, tmp_path / name)
    shutil.copyfile(speech, tmp_path / "speech.wav")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.usefixtures("no_workers")
def test_the_commands_work_as_they_stand(newcomer, script):
    found = commands()
    assert {name for name, *_ in found} >= {"inference.py", "preprocess.py", "wav2lip_train.py", "weights.py"}
    for name, *arguments in found:
        stem = name.removesuffix(".py")
        if stem == "weights" and arguments[0] == "fetch":
            continue  # no network; tests/models/test_weights.py
        result = script(stem, *arguments, *SMALL.get(stem, []))
        assert result.code in (0, 1), f"{name} {shlex.join(arguments)}: {result.error}"
    for written in ("out.mp4", "out.mp4.json", "out.mp4.png"):
        assert (newcomer / written).exists(), written


@pytest.mark.slow
@pytest.mark.long
def test_the_python_block_works_as_it_stands(newcomer):
    (block,) = blocks("python")
    block = block.replace('paste="soft"', 'paste="soft", preview=0.4').replace("preview=5.0", "preview=0.2")
    exec(compile(block, "README.md", "exec"), {})
    assert (newcomer / "out.mp4").exists()
    assert (newcomer / "preview.mp4").exists()
