"""The tag in the metadata of a dubbed video, or of a picture of one, by which it is recognised."""

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, PngImagePlugin, UnidentifiedImageError

from media.reader import open_media
from utils.errors import InputError

KEY = "comment"  # which MP4, MOV, Matroska and WebM all keep
TAG = "dubbed: the lips were generated to fit the speech"


def with_tag(metadata: dict[str, Any]) -> dict[str, Any]:
    """The metadata with the tag, behind the comment that is there."""
    if is_tagged(metadata):
        return metadata
    name = next((name for name in metadata if name.lower() == KEY), KEY)
    return metadata | {name: "; ".join(text for text in (metadata.get(name), TAG) if text)}


def is_tagged(metadata: Mapping[Any, Any]) -> bool:
    return any(TAG in str(text) for name, text in metadata.items() if str(name).lower() == KEY)


def is_dub(path: Path) -> bool:
    """Whether the file is a video that carries the tag."""
    try:
        with open_media(path) as container:
            return is_tagged(container.metadata)
    except InputError:
        return False


def tagged_png(picture: np.ndarray) -> bytes:
    """A PNG file that carries the tag. picture: uint8 BGR [H, W, 3]."""
    about, content = PngImagePlugin.PngInfo(), io.BytesIO()
    about.add_text(KEY, TAG)
    Image.fromarray(np.ascontiguousarray(picture[..., ::-1])).save(content, "PNG", pnginfo=about)
    return content.getvalue()


def is_tagged_png(path: Path) -> bool:
    try:
        with Image.open(path, formats=("PNG",)) as image:
            return is_tagged(image.info)
    except (UnidentifiedImageError, OSError):
        return False
