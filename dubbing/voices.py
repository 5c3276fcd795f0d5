"""Who says what: one speech for one person, or a voice for each person of a conversation.

--voice 0=anna.wav --voice 640,300=ben.wav       person 0 from the left, and the one at a point of the picture
--voice talk.csv                                 columns person, audio and start (seconds)
{0: "anna.wav", (640, 300): [("ben.wav", 0), ("ben2.wav", 9.5)]}    in Python
"""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from utils.errors import InputError
from utils.files import existing_file, read_table
from utils.settings import parse_scalar

POINT = re.compile(r"[\d.]+\s*,\s*[\d.]+")
FORMS = "give 0=FILE (the person's number from the left), X,Y=FILE, or a CSV with columns person, audio and start"

Place = int | tuple[float, float]  # number from the left in the first frame with most faces, or a point on the person


class Part(NamedTuple):
    """Sound, and when it is heard."""

    audio: Path
    start: float = 0.0  # seconds


Voices = dict[Place | None, list[Part]]  # None: the one whom the options choose; whoever is not in it stays as filmed
Audio = str | Path | Mapping  # as callers give it: a file, or files by person


def voices_of(audio: Audio) -> Voices:
    """One voice, or those of several people: {person: file}, or {person: [(file, start), ...]}."""
    if isinstance(audio, str | Path):
        return {None: [Part(Path(audio))]}
    listed = {who: [(given, 0.0)] if isinstance(given, str | Path) else given for who, given in audio.items()}
    return {who: [Part(Path(file), start) for file, start in parts] for who, parts in listed.items()}


def read_voices(texts: Iterable[str], beside: Path = Path()) -> Voices:
    """What --voice says. beside: where its files are. Raises InputError for what it cannot be."""
    voices: Voices = {}
    for text in texts:
        who, equals, file = text.partition("=")
        if equals:
            voices.setdefault(_place(who, text), []).append(Part(existing_file(beside / file, f"--voice {who}")))
        elif Path(text).suffix.lower() in (".csv", ".json"):
            table = beside / text
            for row in read_table(table, "--voice", ("person", "audio")):
                start = parse_scalar(float, str(row.get("start") or 0), f"--voice {table}: start ")
                part = Part(existing_file(table.parent / str(row["audio"]), f"--voice {table}:"), start)
                if not 0 <= start < float("inf"):
                    raise InputError(f"--voice {table}: start {start:g}: give seconds from 0")
                voices.setdefault(_place(str(row["person"]), str(table)), []).append(part)
        else:
            raise InputError(f"--voice {text}: {FORMS}")
    return voices


def _place(who: str, text: str) -> Place:
    if who.strip().isdecimal():
        return int(who)
    if not POINT.fullmatch(who.strip()):
        raise InputError(f"--voice {text}: {who.strip() or 'nobody'}: {FORMS}")
    x, y = (parse_scalar(float, part.strip(), f"--voice {text}: ") for part in who.split(","))
    return x, y


def flag_of(who: Place | None) -> str:
    """The flag that gave a voice."""
    return "--audio" if who is None else f"--voice {name_of(who)}"


def name_of(who: Place | None) -> str:
    """A person, as people are named on the command line."""
    return ",".join(f"{part:g}" for part in who) if isinstance(who, tuple) else str(who or 0)


def files_of(audio: Audio) -> list[Path]:
    return [part.audio for parts in voices_of(audio).values() for part in parts]
