"""Files of media: opening them, telling what they are, and the tag by which dubs are recognised."""

import io
import struct
import warnings
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from functools import lru_cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import av
import numpy as np
from PIL import Image, PngImagePlugin

from media.clock import picture_stream
from media.formats import BROWSER_CODECS, BROWSER_H264, BROWSER_SUFFIXES, OTHER_SUFFIXES, READ_OPTIONS, VIDEO_SUFFIXES
from utils.errors import InputError
from utils.files import existing_file

PICTURE_DEMUXERS = ("_pipe", "gif", "apng")  # how FFmpeg's names end for pictures
MOST_NAMED = 5  # skipped files that are listed by name
MOST_PIXELS = 8192 * 8192  # of a video's pictures; Pillow opens no picture file of more than 179 million
MOST_ANIMATED = 1 << 30  # pixels of an animation in all, which Pillow holds in memory, at 4 bytes each
PICTURE_FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "AVIF", "TIFF", "BMP")  # that Pillow decodes
NOT_FFMPEG = ("WEBP", "AVIF")  # animations that FFmpeg cannot read, or without their alpha
DAMAGE = (  # what Pillow raises for damaged files
    OSError, SyntaxError, ValueError, RuntimeError, LookupError, TypeError, EOFError, OverflowError,
    struct.error, zlib.error,
)  # fmt: skip
DUB_TAG = "dubbed: the lips were generated to fit the speech"
TAG_KEY = "comment"  # a key that MP4, MOV, Matroska and WebM all keep


def add_notice(findings: list[str], *phrases: str) -> None:
    """Add what was found or changed in a file, in short phrases such as "rotated"; each once."""
    findings.extend(phrase for phrase in phrases if phrase not in findings)


@contextmanager
def open_media(path: Path) -> Iterator[Any]:
    """An input container of PyAV. Raises InputError, with the reason, for a file that cannot be opened."""
    if existing_file(path).stat().st_size == 0:
        raise InputError(f"{path}: is empty")
    silence_ffmpeg()
    file = _readable_by_ffmpeg(path)
    try:
        container = av.open(file, options=READ_OPTIONS, metadata_errors="replace")  # of tags in another encoding
    except (av.error.FFmpegError, ValueError) as error:
        advice = "if it plays, convert it to MP4 or WAV (playlists are not read)"
        raise InputError(f"{path}: is not a readable video or sound file, or is truncated; {advice}") from error
    with container, naming(path):
        for context in filter(None, (stream.codec_context for stream in container.streams.video)):  # None: no decoder
            if context.width * context.height > MOST_PIXELS:
                size = f"{context.width}x{context.height}"
                raise InputError(f"{path}: its pictures of {size} pixels are too large; scale them down")
        yield container


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Within the block, errors of FFmpeg that name no file name this one."""
    try:
        yield
    except av.error.FFmpegError as error:
        error.args = (*error.args[:2], error.filename or str(path), *error.args[3:])
        raise


def silence_ffmpeg() -> None:
    """Keep FFmpeg's messages out of Python, before every use: some torchvision releases route them there, and a decoder
    thread that waits for the interpreter lock to log, while its file is being closed, never ends."""
    av.logging.set_level(None)


@contextmanager
def open_picture(path: Path) -> Iterator[Image.Image | None]:
    """A picture file, not decoded yet; None for any other file. Raises InputError for a damaged one, also when the
    damage shows later in the block."""
    try:
        with _opened(path) as image:
            yield image
    except Image.DecompressionBombError as error:
        raise InputError(f"{path}: is too large a picture; scale it down") from error
    except DAMAGE as error:
        raise InputError(f"{path}: is damaged or truncated ({error}); save the picture again") from error


def _opened(path: Path) -> AbstractContextManager[Image.Image | None]:
    formats: tuple[str, ...] = PICTURE_FORMATS
    if find_spec("pillow_heif"):  # without it FFmpeg reads HEIC files of one part
        import_module("pillow_heif").register_heif_opener()
        formats += ("HEIF",)
    try:
        with warnings.catch_warnings(action="ignore", category=Image.DecompressionBombWarning):
            return Image.open(path, formats=formats) if path.is_file() else nullcontext()
    except Image.UnidentifiedImageError:
        return nullcontext()


def picture_count(image: Image.Image) -> int:
    return getattr(image, "n_frames", 1)


def _readable_by_ffmpeg(path: Path) -> str | io.BytesIO:
    """The file's name; of an animation that FFmpeg cannot read, the same pictures and times as animated PNG."""
    animation = _animated_png(path, path.stat().st_mtime_ns)
    return io.BytesIO(animation) if animation else str(path.resolve())


@lru_cache(maxsize=1)  # a video is opened several times
def _animated_png(path: Path, modified: int) -> bytes | None:
    with open_picture(path) as image:
        if image is None or image.format not in NOT_FFMPEG or picture_count(image) == 1:
            return None
        if image.width * image.height * picture_count(image) > MOST_ANIMATED:
            raise InputError(f"{path}: is too long an animation of this size; convert it to MP4")
        durations = []
        for number in range(picture_count(image)):
            image.seek(number)
            image.load()
            durations.append(image.info["duration"])
        image.seek(0)
        content = io.BytesIO()
        image.save(content, "PNG", save_all=True, duration=durations, compress_level=1)
        return content.getvalue()


def is_video(path: Path) -> bool:
    """True for a visible file with a video suffix, or with an unknown suffix and moving pictures inside."""
    return _may_be_video(path) and (path.suffix.lower() in VIDEO_SUFFIXES or _holds_video(path))


def videos_among(paths: Iterable[Path], tell: bool = True) -> list[Path]:
    """The videos, sorted; tell: print a line that names skipped files of unknown kind."""
    candidates = sorted(filter(_may_be_video, paths))
    videos = list(filter(is_video, candidates))
    others = [path.name for path in candidates if path not in videos]
    if others and tell:
        more = f", {len(others) - MOST_NAMED} more" if len(others) > MOST_NAMED else ""
        print(f"skipped, not videos: {', '.join(others[:MOST_NAMED])}{more}", flush=True)
    return videos


def _may_be_video(path: Path) -> bool:
    """Hidden files, such as the ._x.mp4 that macOS leaves on other disks, are not videos."""
    return not path.name.startswith(".") and path.suffix.lower() not in OTHER_SUFFIXES and path.is_file()


def _holds_video(path: Path) -> bool:
    with suppress(InputError, OSError, av.error.FFmpegError), open_media(path) as container:
        stream = picture_stream(container)
        return stream is not None and bool(stream.width) and not container.format.name.endswith(PICTURE_DEMUXERS)
    return False


def plays_in_browsers(path: Path) -> bool:
    """Whether all current browsers play a video."""
    if path.suffix.lower() not in BROWSER_SUFFIXES:
        return False
    with open_media(path) as container:
        context = picture_stream(container).codec_context
        name = context.codec.canonical_name
        return name in BROWSER_CODECS and (name != "h264" or context.pix_fmt in BROWSER_H264)


def with_tag(metadata: dict[str, Any]) -> dict[str, Any]:
    """The metadata of a video with the tag of dubs, after any comment that it has."""
    if is_tagged(metadata):
        return metadata
    name = next((name for name in metadata if name.lower() == TAG_KEY), TAG_KEY)
    return metadata | {name: "; ".join(text for text in (metadata.get(name), DUB_TAG) if text)}


def is_tagged(metadata: Mapping[Any, Any]) -> bool:
    return any(DUB_TAG in str(text) for name, text in metadata.items() if str(name).lower() == TAG_KEY)


def is_dub(path: Path) -> bool:
    """Whether the file is a video or a picture that carries the tag."""
    with suppress(InputError), open_picture(path) as image:
        if image is not None:
            return is_tagged(image.info)
    with suppress(InputError), open_media(path) as container:
        return is_tagged(container.metadata)
    return False


def tagged_png(picture: np.ndarray) -> bytes:
    """A PNG file that carries the tag. picture: uint8 BGR [H, W, 3]."""
    about, content = PngImagePlugin.PngInfo(), io.BytesIO()
    about.add_text(TAG_KEY, DUB_TAG)
    Image.fromarray(np.ascontiguousarray(picture[..., ::-1])).save(content, "PNG", pnginfo=about)
    return content.getvalue()
