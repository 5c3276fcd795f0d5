"""Imports point down; import contracts (`make lint`) check the packages, this file the modules beside them."""

import ast
from pathlib import Path

ROOT = Path(__file__).parent.parent
BELOW = {"hparams.py": {"utils"}, "audio.py": {"utils", "hparams", "media", "face_detection", "models"}}
OURS = {path.parent.name for path in ROOT.glob("*/__init__.py")} | {path.stem for path in ROOT.glob("*.py")}
SCRIPTS = {
    "preprocess", "color_syncnet_train", "wav2lip_train", "refiner_train", "inference", "evaluate", "weights",
    "finetune", "web",
}  # fmt: skip


def test_the_top_level_holds_the_scripts_and_two_modules_that_import_what_lies_below():
    assert {path.stem for path in ROOT.glob("*.py")} == SCRIPTS | {"audio", "hparams"}
    for name, below in BELOW.items():
        nodes = list(ast.walk(ast.parse((ROOT / name).read_text(encoding="utf-8"))))
        imported = {alias.name.split(".")[0] for node in nodes if isinstance(node, ast.Import) for alias in node.names}
        imported |= {node.module.split(".")[0] for node in nodes if isinstance(node, ast.ImportFrom) and node.module}
        assert imported & OURS <= below, name


def test_command_lines_stay_in_the_scripts_and_utils():
    files = [path for name in OURS - {"utils"} for path in (ROOT / name).rglob("*.py")]
    assert files
    assert not [path for path in files if "import argparse" in path.read_text(encoding="utf-8")]
