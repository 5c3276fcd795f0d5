"""Dubs to do: one, or those of a list (CSV with a line of names, or a JSON list of objects).

face,audio,outfile,pads
talk.mp4,speech.wav,one.mp4,0 20 0 0
"""

from pathlib import Path
from typing import Any, NamedTuple

from dubbing.options import Options
from dubbing.record import is_record, page_path, record_path
from dubbing.voices import Audio, files_of, flag_of, read_voices, voices_of
from media import codecs
from media.opening import is_dub
from utils.errors import InputError
from utils.files import creatable, read_table, writable_folder
from utils.settings import with_overrides

PATHS = {"face", "audio", "outfile", "checkpoint_path", "final_audio", "mouths_from"}
OTHER_PICTURES = (".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".avif", ".gif")


class DubJob(NamedTuple):
    """One dub. outfile: the video to write, or a folder for it."""

    face: Path
    audio: Audio
    outfile: Path
    options: Options


def read_jobs(path: Path, options: Options, folder: Path) -> list[DubJob | Exception]:
    """The jobs of a list; for one that cannot be done, the error in its place. Paths in a list are relative to it.

    options: for settings that a row does not name; folder: for results whose row names no outfile. A job cannot be done
    if its row lacks face or audio, names an unknown setting, or writes a file that another row reads or writes. Raises
    InputError if none can be done.
    """
    if folder.suffix and not folder.is_dir():
        raise InputError(f"--outfile {folder}: names a file; with --jobs give a folder, without a dot in its name")
    jobs: list[DubJob | Exception] = []
    for row in read_table(path, "--jobs", ("face",)):
        try:
            jobs.append(_job(row, path.parent, options, folder))
        except Exception as error:  # names may be such as no system takes
            jobs.append(error)
    done = [job for job in jobs if isinstance(job, DubJob)]
    files = (file for job in done for file in (job.face, *files_of(job.audio), job.options.final_audio) if file)
    used = {file.resolve(): "reads" for file in files}
    for number, job in enumerate(jobs):
        if isinstance(job, DubJob):
            place = job.outfile.resolve()
            if place in used:
                jobs[number] = InputError(f"another job {used[place]} {job.outfile}; give each an outfile of its own")
            used.setdefault(place, "writes")
    if not any(isinstance(job, DubJob) for job in jobs):
        raise InputError(f"--jobs {path}: job 1: {jobs[0]}") from jobs[0]  # type: ignore[misc]
    return jobs


def _job(row: dict[str, Any], beside: Path, options: Options, folder: Path) -> DubJob:
    given = {name: value for name, value in row.items() if value is not None and str(value).strip() != ""}
    if not given.get("face") or bool(given.get("audio")) == bool(given.get("voice")):
        raise InputError("give face, and audio or voice")
    for name in PATHS & given.keys():
        given[name] = beside / str(given[name])
    texts = filter(None, map(str.strip, str(given.pop("voice", "")).split(";")))
    audio = given.pop("audio", None) or read_voices(texts, beside)
    face, to = given.pop("face"), given.pop("outfile", folder)
    job_options = with_overrides(options, given)
    for file in (face, *files_of(audio)):
        file.resolve()  # raises for what no system takes as a name
    return DubJob(face, audio, output_path(face, audio, to, job_options), job_options)


def output_path(face: Path, audio: Audio, outfile: Path, options: Options, still: bool = False) -> Path:
    """The file to write: outfile, or <face>_<audio>.mp4 in it if it is a folder, which is created, of several people
    with the first file of each. still: for a picture instead of a dub, outfile if it ends in .png, else
    <outfile>.still.png.

    Raises InputError if the file cannot be written, is one of the inputs, or exists and is not by this program.
    """
    if still and outfile.suffix.lower() in OTHER_PICTURES:
        raise InputError(f"--outfile {outfile}: a still is written as PNG; let the name end in .png")
    if outfile.is_dir() or not outfile.suffix:
        said = "_".join(parts[0].audio.stem for parts in voices_of(audio).values())
        outfile = outfile / f"{face.stem}_{said}{codecs.usual_suffix(options.codec)}"
    if not (still and outfile.suffix.lower() == ".png"):
        codecs.choose(options.codec, outfile.suffix, crf=options.crf, preset=options.preset)
        outfile = Path(f"{outfile}.still.png") if still else outfile
    writable_folder(outfile.parent, "--outfile")
    files = {outfile: is_dub} if still else {outfile: is_dub, record_path(outfile): is_record}
    for path in (*files, *([page_path(outfile)] if options.report and not still else [])):
        creatable(path, "--outfile")
    heard = [(flag_of(who), part.audio) for who, parts in voices_of(audio).items() for part in parts]
    for flag, given in (("--face", face), *heard, ("--final_audio", options.final_audio)):
        if given and given.exists() and outfile.exists() and outfile.samefile(given):
            raise InputError(f"--outfile {outfile}: is the file given as {flag}; choose another name")
    if options.final_audio and not options.final_audio.is_file():
        raise InputError(f"--final_audio {options.final_audio}: no such file")
    for path, is_ours in files.items():
        if not options.overwrite and path.exists() and path.stat().st_size and not is_ours(path):
            raise InputError(
                f"--outfile {path}: exists and is not by this program; choose another name, or give --overwrite"
            )
    return outfile
