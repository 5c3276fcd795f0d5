"""Imports point down; import contracts (`make lint`) check the packages, this file the two modules beside them."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
BELOW = {"hparams.py": {"utils"}, "audio.py": {"utils", "hparams", "media", "face_detection", "models"}}
OURS = {path.name for path in ROOT.iterdir() if (path / "__init__.py").exists()} | {p.stem for p in ROOT.glob("*.py")}


@pytest.mark.parametrize("name", BELOW)
def test_a_module_at_the_top_imports_only_what_lies_below_it(name):
    imported = set()
    for node in ast.walk(ast.parse((ROOT / name).read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            imported |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            imported.add(node.module.split(".")[0])
    assert imported & OURS <= BELOW[name]


def test_the_top_level_holds_the_scripts_and_two_modules():
    trainings = {"color_syncnet_train", "wav2lip_train", "refiner_train"}
    scripts = trainings | {"preprocess", "inference", "evaluate", "weights", "finetune", "web"}
    assert {path.stem for path in ROOT.glob("*.py")} == scripts | {"audio", "hparams"}


def test_command_lines_stay_in_the_scripts_and_utils():
    packages = [ROOT / name for name in OURS if (ROOT / name).is_dir() and name != "utils"]
    files = [path for package in packages for path in package.rglob("*.py")]
    assert files
    assert not [path for path in files if "argparse" in path.read_text(encoding="utf-8")]
