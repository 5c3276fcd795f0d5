"""Forms from classes of options, as the flags of the scripts are: one field for every setting."""

import inspect
import re
from collections.abc import Callable, Mapping
from dataclasses import MISSING, Field, fields
from pathlib import Path
from typing import Any

import gradio as gr

from utils.errors import InputError
from utils.options import Options, changed, help_text, value_type, written

FLAG = re.compile(r"--([a-z]\w*)")
FREE = Path  # settings of this type name files; a page offers those it knows instead of a text


class Form:
    """The fields of an options class, by the names of its settings.

    choices: of settings that name files, what may be chosen now, by its label; hidden: settings that the server
    decides.
    """

    def __init__(
        self, options_class: type[Options], choices: Mapping[str, Callable[[], Mapping[str, str]]], hidden: set[str]
    ) -> None:
        self.options_class, self.choices = options_class, choices
        settings = [setting for setting in fields(options_class) if setting.name not in hidden]
        self.settings = [s for s in settings if value_type(s) is not FREE or s.name in choices]

    def components(self, common: bool) -> dict[str, gr.components.Component]:
        """Fields of the common settings, or of the further ones, put where the layout stands."""
        return {s.name: self._component(s) for s in self.settings if bool(s.metadata.get("common")) == common}

    def options(self, values: Mapping[str, Any], **fixed: Any) -> Any:
        """The options of what a visitor entered; fixed: what the server decides. Raises InputError."""
        known = {setting.name: setting for setting in self.settings}
        given = {name: value for name, value in values.items() if value not in (None, "")}
        for name in given:
            if name not in known:
                raise InputError(f"{name}: no such setting")
        for name in self.choices.keys() & given.keys():
            given[name] = self._chosen(name, given[name])
        given = {name: value for name, value in given.items() if value != ""}
        return changed(self.options_class(**fixed), given)

    def offered(self) -> list[dict]:
        """The present choices of those settings, as updates of their fields."""
        return [gr.update(choices=list(choices())) for choices in self.choices.values()]

    def signature(self, *files: str) -> inspect.Signature:
        """Of a function that takes files and then every setting as a text, None for its default."""
        kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
        texts = [inspect.Parameter(s.name, kind, default=None, annotation=str) for s in self.settings]
        return inspect.Signature([*(inspect.Parameter(name, kind, annotation=str) for name in files), *texts])

    def _chosen(self, name: str, label: str) -> str:
        offered = self.choices[name]()
        if label not in offered:
            raise InputError(f"{name} {label}: choose from {', '.join(offered)}")
        return offered[label]

    def _component(self, setting: Field) -> gr.components.Component:
        kind, about = value_type(setting), setting.metadata
        default: Any = None if setting.default is MISSING else setting.default
        name, note = setting.name.replace("_", " "), as_labelled(help_text(setting))
        plain: dict[str, Any] = {"label": name, "info": note, "elem_id": f"setting_{setting.name}"}
        if setting.name in self.choices:
            labels = list(self.choices[setting.name]())
            return gr.Dropdown(labels, value=labels[0], **plain)
        if about["choices"]:
            return gr.Dropdown(list(about["choices"]), value=default, **plain)
        if kind is bool:
            return gr.Checkbox(bool(default), **plain)
        if default is not None and kind in (int, float):
            bounds: dict[str, Any] = {"minimum": about["minimum"], "maximum": about["maximum"]}
            return gr.Number(default, precision=0 if kind is int else None, **plain, **bounds)
        return gr.Textbox("" if default is None else written(default), placeholder="automatic", **plain)


def as_labelled(line: str) -> str:
    """A line whose settings are called as the labels of the fields call them, not as the flags."""
    return FLAG.sub(lambda flag: f"“{flag[1].replace('_', ' ')}”", line)


def entered(names: list[str], values: tuple[Any, ...]) -> dict[str, Any]:
    """Values by the names of their fields, numbers without a fraction as whole ones."""
    whole = (int(value) if isinstance(value, float) and value.is_integer() else value for value in values)
    return dict(zip(names, whole, strict=True))
