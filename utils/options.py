"""Settings of a stage as a frozen dataclass, written once: type, default, unit, check and help of every setting.

    @dataclass(frozen=True, kw_only=True)
    class Resize(Options):
        width: int = option("size of the result", 640, unit="pixels", minimum=1)

    Resize(width=320)                                # in Python
    add_flags(parser, fields(Resize)); from_args(Resize, parser.parse_args())   # as the flag --width
    changed(Resize(), {"width": "320"})              # from a row of a table

Types: bool, int, float, str, Path, tuples of them, and any of these `| None`.
"""

import argparse
import types
from collections.abc import Callable, Iterable, Mapping
from dataclasses import MISSING, Field, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Protocol, TypeVar, get_args, get_origin

from utils.errors import InputError, nearest

OptionsType = TypeVar("OptionsType", bound="Options")

PRECISIONS = ("auto", "fp32", "bf16", "fp16")  # number formats of networks: utils/devices.py
METAVARS = {int: "N", float: "N", Path: "PATH", str: "TEXT"}
WORDS = {int: "a whole number", float: "a number", bool: "True or False"}


class FlagGroup(Protocol):
    """An argparse parser, or a group of its flags."""

    def add_argument(self, *names: str, **settings: Any) -> Any: ...


def option(
    help: str,
    default: Any = MISSING,
    *,
    unit: str = "",
    minimum: float | None = None,
    maximum: float | None = None,
    choices: tuple[str, ...] | None = None,
    metavar: str | tuple[str, ...] | None = None,
    const: Any = None,
    common: bool = False,
    weights: bool = False,
    aliases: tuple[str, ...] = (),
) -> Any:
    """One setting of an Options class.

    minimum, maximum: the bounds of a number; choices: the only allowed values; const: the value of a flag given without
    one; metavar: as in argparse, one name per value for tuples; common: it stands among those used most, as one that
    must be given always does; weights: it names weight files; aliases: other names of the flag.
    """
    described = {"help": help, "unit": unit, "choices": choices, "metavar": metavar, "const": const}
    bounds = {"minimum": minimum, "maximum": maximum}
    kind = {"common": common or default is MISSING, "weights": weights, "aliases": aliases}
    return field(default=default, metadata=described | bounds | kind)


@dataclass(frozen=True, kw_only=True)
class Options:
    """Base of all settings. Values are checked when an object is made; a wrong one raises InputError."""

    def __post_init__(self) -> None:
        for setting in fields(self):
            value = getattr(self, setting.name)
            if isinstance(value, list | tuple):
                kind = Path if Path in get_args(value_type(setting)) else None
                object.__setattr__(self, setting.name, tuple(map(kind, value)) if kind else tuple(value))
            if isinstance(value, str) and value_type(setting) is Path:
                object.__setattr__(self, setting.name, Path(value))
            _check(setting, value)


@dataclass(frozen=True, kw_only=True)
class CommonOptions(Options):
    """What every stage with a network takes."""

    hparams: str = option("change values of hparams.py", "", metavar="NAME=VALUE,...")
    device: str = option("auto, cpu, cuda, cuda:1, mps ...", "auto")


def value_type(setting: Field) -> Any:
    """The type of a setting's values, without `| None`."""
    if isinstance(setting.type, types.UnionType):
        return next(kind for kind in get_args(setting.type) if kind is not types.NoneType)
    return setting.type


def parse_scalar(kind: type, text: str, name: str) -> Any:
    """The value of a bool, int, float, str or Path setting that `text` writes; InputError names it by `name`."""
    try:
        return _boolean(text) if kind is bool else kind(text)
    except ValueError as error:
        raise InputError(f"{name}={text}: give {WORDS[kind]}") from error


def changed(options: OptionsType, values: Mapping[str, Any]) -> OptionsType:
    """A copy with other values, which may be texts, as a table holds them, or values of the right type.

    Names may be written as flags. Raises InputError for an unknown name or a value of the wrong type.
    """
    known = {setting.name: setting for setting in fields(options)}
    new = {}
    for written, value in values.items():
        name = written.strip().lstrip("-")
        if name not in known:
            raise InputError(f"{written}: no such setting, {nearest(name, known, '--help lists all')}")
        new[name] = _parse(known[name], value)
    return replace(options, **new)


def grouped(*options_classes: type[Options]) -> dict[str, list[Field]]:
    """The settings of the classes as people are shown them: those used most, and the others."""
    settings = [setting for options_class in options_classes for setting in fields(options_class)]
    return {
        "common": [setting for setting in settings if setting.metadata["common"]],
        "further": [setting for setting in settings if not setting.metadata["common"]],
    }


def add_flags(parser: FlagGroup, settings: Iterable[Field]) -> None:
    """A flag for each of the settings."""
    for setting in settings:
        parser.add_argument(f"--{setting.name}", *setting.metadata["aliases"], **_argparse_settings(setting))


def from_args(options_class: type[OptionsType], args: argparse.Namespace) -> OptionsType:
    """The options that a command line gave; args may hold other flags besides."""
    return options_class(**{setting.name: getattr(args, setting.name) for setting in fields(options_class)})


def help_text(setting: Field) -> str:
    """What the setting is, its unit and its default, in one sentence."""
    notes = [setting.metadata["unit"]] if setting.metadata["unit"] else []
    if setting.default not in (MISSING, None, False, ""):
        notes.append(f"default: {written(setting.default)}")
    return setting.metadata["help"] + (f" ({'; '.join(notes)})" if notes else "")


def written(value: Any) -> str:
    """A value as it is typed on a command line."""
    if isinstance(value, Path):
        return value.as_posix()
    return " ".join(map(str, value)) if isinstance(value, tuple) else str(value)


def _argparse_settings(setting: Field) -> dict[str, Any]:
    kind, about = value_type(setting), setting.metadata
    metavar = about["metavar"] or METAVARS.get(kind)
    settings: dict[str, Any] = {"help": help_text(setting).replace("%", "%%"), "metavar": metavar}
    if setting.default is MISSING:
        settings["required"] = True
    else:
        settings["default"] = setting.default
    if about["choices"]:
        return settings | {"choices": about["choices"], "metavar": "|".join(about["choices"])}
    if kind is bool:
        return settings | {"nargs": "?", "const": True, "type": _flag_type(_boolean), "metavar": "on|off"}
    if get_origin(kind) is not tuple:
        return settings | {"type": _of_kind(kind)} | ({"nargs": "?", "const": about["const"]} if about["const"] else {})
    inner = get_args(kind)
    if isinstance(about["metavar"], str) and "," in about["metavar"]:  # written as one word: X,Y
        return settings | {"type": _flag_type(lambda text: _tuple(setting, text), setting.name)}
    return settings | {"type": _of_kind(inner[0]), "nargs": "+" if Ellipsis in inner else len(inner)}


def _flag_type(parse: Callable[[str], Any], name: str = "") -> Callable[[str], Any]:
    """What makes a value of a flag's text; name: by which errors name the setting, which argparse does too."""

    def convert(text: str) -> Any:
        try:
            return parse(text)
        except (ValueError, InputError) as error:
            raise argparse.ArgumentTypeError(str(error).removeprefix(f"{name}=")) from error

    return convert


def _of_kind(kind: type) -> Callable[[str], Any]:
    """What makes a value of a flag's text; the error of argparse names the flag."""

    def convert(text: str) -> Any:
        try:
            return kind(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(f"{text}: give {WORDS[kind]}") from error

    return convert


def _parse(setting: Field, value: Any) -> Any:
    kind = value_type(setting)
    if get_origin(kind) is tuple:
        return _tuple(setting, value)
    return parse_scalar(kind, str(value).strip(), setting.name)


def _tuple(setting: Field, value: Any) -> tuple:
    inner = get_args(value_type(setting))
    parts = value.replace(",", " ").split() if isinstance(value, str) else value
    if Ellipsis not in inner and len(parts) != len(inner):
        raise InputError(f"{setting.name}={value}: give {len(inner)} values")
    return tuple(parse_scalar(inner[0], str(part), setting.name) for part in parts)


def _boolean(text: str) -> bool:
    if text.lower() not in ("true", "false", "on", "off"):
        raise ValueError("give True or False")
    return text.lower() in ("true", "on")


def _check(setting: Field, value: Any) -> None:
    minimum, maximum, choices = (setting.metadata[name] for name in ("minimum", "maximum", "choices"))
    if value is None:
        return
    if minimum is not None and not value >= minimum:  # nor is NaN
        raise InputError(f"--{setting.name} {value}: give at least {minimum}")
    if maximum is not None and value > maximum:
        raise InputError(f"--{setting.name} {value}: give at most {maximum}")
    if choices and value not in choices:
        raise InputError(f"--{setting.name} {value}: choose from {', '.join(choices)}")
