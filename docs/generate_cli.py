"""Writes the tables of docs/cli.md, the list of all flags, from the Options dataclasses.

python -m docs.generate_cli
"""

from collections.abc import Iterable
from dataclasses import MISSING, Field
from importlib import import_module
from pathlib import Path
from typing import get_args

from dubbing.options import Options as DubbingOptions
from dubbing.options import Request
from finetune import FinetuneOptions
from live import LiveOptions
from metrics import EvaluationOptions
from preprocessing import PreprocessingOptions
from training import GeneratorOptions, TrainingOptions
from utils.files import write_text
from utils.settings import METAVARS, format_value, grouped, value_type
from web.site import WebOptions

PAGE = Path(__file__).with_name("cli.md")
BEGIN, END = "<!-- flags -->\n", "<!-- end of flags -->"  # what is between them is written
SCRIPTS = {
    "inference": (Request, DubbingOptions),
    "live": (LiveOptions,),
    "finetune": (FinetuneOptions,),
    "preprocess": (PreprocessingOptions,),
    "color_syncnet_train": (TrainingOptions,),
    "wav2lip_train": (GeneratorOptions,),
    "evaluate": (EvaluationOptions,),
    "web": (WebOptions,),
}


def cli_page() -> str:
    """The text of docs/cli.md, its tables written from the options."""
    parts = []
    for name, options in SCRIPTS.items():
        common, further = grouped(*options).values()
        purpose = (import_module(name).__doc__ or "").splitlines()[0]
        parts.append(f"## {name}.py\n\n{purpose}\n")
        parts += [_table(common), "Further flags:\n"] if common else []
        parts.append(_table(further))
    text = PAGE.read_text(encoding="utf-8")
    return text.split(BEGIN)[0] + BEGIN + "\n".join(parts) + "\n" + END + text.split(END)[1]


def _table(settings: Iterable[Field]) -> str:
    rows = ["| flag | values | default | what it does |", "|---|---|---|---|", *map(_row, settings)]
    return "\n".join(rows) + "\n"


def _row(setting: Field) -> str:
    names = ", ".join(f"`{name}`" for name in (f"--{setting.name}", *setting.metadata["aliases"]))
    default = "" if setting.default in (None, "") else f"`{format_value(setting.default)}`"
    if setting.default is MISSING or setting.default is False:
        default = "required" if setting.default is MISSING else "off"
    cells = (names, _values(setting), default, setting.metadata["help"])
    return "| " + " | ".join(cell.replace("|", "\\|").replace("<", "&lt;") for cell in cells) + " |"


def _values(setting: Field) -> str:
    """What may be given, with its unit and its bounds."""
    kind, about = value_type(setting), setting.metadata
    if kind is bool:
        return "switch"
    if about["choices"]:
        return ", ".join(f"`{choice}`" for choice in about["choices"])
    metavar = about["metavar"] or METAVARS[kind]
    metavar = " ".join(metavar) if isinstance(metavar, tuple) else metavar + " ..." * (Ellipsis in get_args(kind))
    notes = [f"`{metavar}` {about['unit']}".rstrip()]
    bounds = {"at least": about["minimum"], "at most": about["maximum"], "without a value": about["const"]}
    return ", ".join([*notes, *(f"{word} {bound:g}" for word, bound in bounds.items() if bound is not None)])


if __name__ == "__main__":
    write_text(PAGE, cli_page())
