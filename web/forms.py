"""Forms from classes of options, as the flags of the scripts are: one field for every setting."""

import re
from collections.abc import Callable, Mapping
from dataclasses import MISSING, Field, fields
from pathlib import Path
from typing import Any

import gradio as gr

from utils.errors import InputError
from utils.options import Options, changed, help_text, value_type, written

FLAG = re.compile(r"--([a-z]\w*)")


class Form:
    """The fields of an options class, by the names of its settings. Settings that name files are offered only where
    `choices` lists what may be chosen: label -> value, asked for whenever it is shown."""

    def __init__(
        self, options_class: type[Options], choices: Mapping[str, Callable[[], Mapping[str, str]]], hidden: set[str]
    ) -> None:
        self.options_class, self.choices = options_class, choices
        settings = [setting for setting in fields(options_class) if setting.name not in hidden]
        self.settings = [s for s in settings if value_type(s) is not Path or s.name in choices]

    def components(self, common: bool) -> dict[str, gr.components.Component]:
        """Fields of the common settings, or of the further ones, placed where the layout stands."""
        return {s.name: self._component(s) for s in self.settings if bool(s.metadata.get("common")) == common}

    def options(self, values: Mapping[str, Any], **fixed: Any) -> Any:
        """The options of what a visitor entered; fixed: what the server decides. Raises InputError."""
        known = {setting.name for setting in self.settings}
        given = {name: value for name, value in values.items() if value not in (None, "")}
        for name, value in given.items():
            if name not in known:
                raise InputError(f"{name}: no such setting")
            if isinstance(value, float) and value.is_integer():  # number fields give floats
                given[name] = int(value)
        for name in self.choices.keys() & given.keys():
            offered = self.choices[name]()
            if given[name] not in offered:
                raise InputError(f"{name} {given[name]}: choose from {', '.join(offered)}")
            given[name] = offered[given[name]]
        return changed(self.options_class(**fixed), {name: value for name, value in given.items() if value != ""})

    def offered(self) -> list[dict]:
        """The present choices, as updates of their fields."""
        return [gr.update(choices=list(choices())) for choices in self.choices.values()]

    def _component(self, setting: Field) -> gr.components.Component:
        kind, about = value_type(setting), setting.metadata
        default: Any = None if setting.default is MISSING else setting.default
        info = without_flags(help_text(setting))
        plain: dict[str, Any] = {
            "label": setting.name.replace("_", " "), "info": info, "elem_id": f"setting_{setting.name}"
        }  # fmt: skip
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


def without_flags(line: str) -> str:
    """A line that calls settings by their labels in the form, not by their flags."""
    return FLAG.sub(lambda flag: f"“{flag[1].replace('_', ' ')}”", line)
