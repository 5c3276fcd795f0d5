"""What a visitor can ask for: the settings that the page offers, generators, and the command line of each job."""

from collections.abc import Mapping
from dataclasses import Field, fields, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from dubbing.options import PREVIEW, Options
from media.formats import CODECS
from models.published import BUNDLED, PUBLISHED, ROOT, state
from utils.errors import InputError
from utils.settings import as_flags, format_value, help_text, value_type, with_overrides
from web.site import Refused, Site, media_suffix, without_flags

GROUPS = {  # headings, and the settings of a dub below them
    "face": (
        "face_at", "face_index", "start", "end", "pads", "box", "resize_factor", "rotate", "crop", "static", "align",
        "nosmooth", "fps", "deinterlace", "video_stream",
    ),
    "speech": ("extend", "keep_length", "silence", "level", "audio_stream", "published_timing"),
    "mouth": ("own_pixels", "occlusion", "paste"),
    "output": ("label", "codec", "crf", "background", "no_score"),
    "networks": (
        "checkpoint_path", "engine", "precision", "face_detector", "wav2lip_batch_size", "face_det_batch_size",
    ),
}  # fmt: skip
SETTINGS = {setting.name: setting for setting in fields(Options) if setting.name in sum(GROUPS.values(), ())}
BOUNDS = {  # tighter than those of the scripts
    "face_index": (0, 100), "start": (0, 86_400), "end": (0, 86_400), "resize_factor": (1, 16), "crf": (0, 40),
    "video_stream": (0, 100), "audio_stream": (0, 100), "wav2lip_batch_size": (1, 64), "face_det_batch_size": (1, 64),
}  # fmt: skip
LONGEST_TEXT = 60  # characters of a setting
MINUTES: dict[str, Any] = {"name": "minutes", "kind": "float", "default": 30.0, "minimum": 0.1, "maximum": 1440.0}
INPUTS = {  # of each kind of job: those that it needs, and others
    "dub": ("face speech", ""), "preview": ("face speech", ""), "check": ("face", "speech"),
    "score": ("video", "audio reference"), "train": ("videos", "face speech"), "fetch": ("weights", ""),
}  # fmt: skip
OF_THE_OWNER = ("train", "fetch")  # who alone may start them
OF_A_PERSON = ("dub", "preview", "train")  # whose consent is asked for
MISSING = {
    "face": "Give a video or a picture with the face.", "video": "Give a video to score.",
    "speech": "Give the speech: a sound file, or a video with sound.", "videos": "Give videos of one person.",
    "weights": "Choose the file to fetch.",
}  # fmt: skip
NAME = "name.txt"  # in a training's folder: what its videos are called
AUTO = "auto"  # the best generator that is installed


def generators(site: Site, owner: bool) -> dict[str, tuple[str, str, Path | None]]:
    """Generators to choose from: id -> name, licence, file. Only the owner sees those that were trained here."""
    found: dict[str, tuple[str, str, Path | None]] = {AUTO: ("the best installed", "", None)}
    for file in (*PUBLISHED, *BUNDLED):
        if file.note.startswith("generator") and state(file) == "there":
            found[file.name] = (f"{file.name}: {file.note}", file.licence, file.path)
    own = [*(ROOT / "checkpoints").glob("**/best.pth"), *site.runs.glob("*/generator*/best.pth")] if owner else []
    for path in sorted(own, key=lambda path: -path.stat().st_mtime):
        about = path.parent.parent / NAME
        name = f"{about.read_text(encoding='utf-8')}: " if about.exists() else ""
        found[site.signed(str(path))[:12]] = (name + path.parent.name, "trained here", path)
    return found


def choices(site: Site, owner: bool) -> dict[str, tuple[str, ...]]:
    """What is offered where not everything works here."""
    on_cpu = all(device in ("auto", "cpu") for device in site.devices)
    return {
        "fps": ("source", "24", "25", "30", "50", "60"),
        "codec": ("auto", *CODECS),
        "engine": ("auto", "torch", *(("openvino",) if on_cpu and find_spec("openvino") else ())),
        "precision": ("auto", "fp32", "bf16", *(() if on_cpu else ("fp16",))),
        "face_detector": ("auto", "retinaface", *(("sfd",) if state(PUBLISHED[0]) == "there" else ())),
        "checkpoint_path": tuple(generators(site, owner)),
    }


def offered(site: Site, owner: bool) -> dict[str, Any]:
    """The settings of a dub in groups, generators, and weights to fetch, as JSON."""
    found = choices(site, owner)
    known = generators(site, owner).items()
    return {
        "groups": [
            {"id": group, "settings": [as_json(SETTINGS[name], found.get(name)) for name in names]}
            for group, names in GROUPS.items()
        ],
        "train": [MINUTES],
        "generators": [{"id": key, "name": name, "licence": licence} for key, (name, licence, _) in known],
        "weights": [
            {"name": file.name, "licence": file.licence, "note": file.note, "mb": round(file.size / 1e6, 1),
             "there": state(file) == "there"} for file in PUBLISHED if owner and file.fetchable
        ],
    }  # fmt: skip


def as_json(setting: Field, offered: tuple[str, ...] | None) -> dict[str, Any]:
    about, kind, default = setting.metadata, value_type(setting), setting.default
    found = offered or about["choices"]
    words = {bool: "bool", int: "int", float: "float"}
    minimum, maximum = BOUNDS.get(setting.name, (about["minimum"], about["maximum"]))
    return {
        "name": setting.name, "kind": "choice" if found else words.get(kind, "text"), "choices": found,
        "default": format_value(default) if isinstance(default, tuple) else default or (AUTO if found else default),
        "minimum": minimum, "maximum": maximum, "unit": about["unit"], "help": without_flags(help_text(setting)),
    }  # fmt: skip


def dub_options(site: Site, owner: bool, given: Mapping[str, Any], height: int = 0) -> Options:
    """The options of what a visitor entered; settings that exclude each other are brought together. height: of the
    picture in which a face was clicked. Raises Refused, which names the setting."""
    values, found = {name: value for name, value in given.items() if value not in (None, "")}, choices(site, owner)
    for name, value in values.items():
        bounds = BOUNDS.get(name)
        label = without_flags(f"--{name}")
        if name not in SETTINGS:
            raise Refused(f"There is no setting {label}.", name)
        if name in found and value not in found[name]:
            raise Refused(f"{label}: choose from {', '.join(found[name])}.", name)
        if bounds and not (isinstance(value, int | float) and bounds[0] <= value <= bounds[1]):
            raise Refused(f"{label}: give a number from {bounds[0]} to {bounds[1]}.", name)
        if len(format_value(value)) > LONGEST_TEXT:
            raise Refused(f"{label}: is too long.", name)
    if values.get("paste") == "box" or values.get("box"):
        values.pop("own_pixels", None)
    if values.get("codec") in CODECS and CODECS[values["codec"]].crf is None:
        values.pop("crf", None)
    options = Options(checkpoint_path=generators(site, owner)[values.pop("checkpoint_path", AUTO)][2])
    for name, value in sorted(values.items(), key=lambda item: item[0] == "end"):  # one by one, to know which is wrong
        whole = isinstance(value, float) and value.is_integer()  # which is how JSON may have a whole number
        try:
            options = with_overrides(options, {name: int(value) if whole else value})
        except InputError as error:
            raise Refused(without_flags(str(error)), name) from error
    return replace(options, face_at=carried_over(options, height)) if options.face_at else options


def carried_over(options: Options, height: int) -> tuple[float, float]:
    """The point that was clicked, in the frame as it is dubbed: smaller, turned and cropped."""
    x, y = (value / options.resize_factor for value in options.face_at or (0.0, 0.0))
    if options.rotate:
        x, y = height / options.resize_factor - 1 - y, x
    top, _, left, _ = options.crop
    return round(x - left, 1), round(y - top, 1)


def file_of(job: Any, role: str) -> str:
    """Where an upload is in a job's folder, under its own name."""
    name = job.inputs[role]["name"]
    return f"{role}/{Path(name).stem}{media_suffix(name)}"


def command(site: Site, job: Any, device: str) -> list[str]:
    """Script and arguments of a job, to be run in its folder. Raises Refused."""
    files = {role: file_of(job, role) for role in job.inputs if role not in ("videos", "weights")}
    flags = [word for role, file in files.items() for word in (f"--{'audio' if role == 'speech' else role}", file)]
    if job.kind == "fetch":
        return ["weights.py", "fetch", job.inputs["weights"]["id"]]
    if job.kind == "score":
        return ["evaluate.py", *flags, "--device", device, "--outfile", "scores.json"]
    if job.kind == "train":
        minutes = job.settings.get("minutes", MINUTES["default"])
        if not (isinstance(minutes, int | float) and MINUTES["minimum"] <= minutes <= MINUTES["maximum"]):
            raise Refused(f"minutes: give a number from {MINUTES['minimum']} to {MINUTES['maximum']}.", "minutes")
        videos, run = (str(find(job.inputs["videos"]["id"])) for find in (site.videos, site.run_folder))
        return [
            "finetune.py",
            *flags,
            "--videos",
            videos,
            "--outdir",
            run,
            "--minutes",
            f"{minutes}",
            "--device",
            device,
        ]
    options = dub_options(site, job.owner, job.settings, job.inputs["face"].get("height") or 0)
    suffix = CODECS[options.codec].suffixes[0] if options.codec in CODECS else ".mp4"
    name = "_".join(Path(files[role]).stem for role in ("face", "speech") if role in files) + suffix
    options = replace(
        options, device=device, overwrite=True, report=job.kind != "check", side_by_side=job.kind == "dub"
    )
    if job.kind == "preview":
        options = replace(options, preview=PREVIEW)
    return [
        "inference.py",
        *flags,
        "--outfile",
        name,
        *as_flags(options),
        *(["--check"] if job.kind == "check" else []),
    ]
