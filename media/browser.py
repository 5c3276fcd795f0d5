"""Which videos and pictures all current browsers show."""

from pathlib import Path

from media.reader import open_media, picture_stream

SUFFIXES = (".mp4", ".m4v", ".mov", ".webm")
CODECS = ("h264", "vp8", "vp9", "av1")
H264_FORMATS = ("yuv420p", "yuvj420p")  # others are for editors
PICTURES = (".jpg", ".jpeg", ".png", ".webp", ".gif", ".avif", ".bmp")


def plays(path: Path) -> bool:
    """Whether browsers play a video."""
    if path.suffix.lower() not in SUFFIXES:
        return False
    with open_media(path) as container:
        context = picture_stream(container).codec_context
        name = context.codec.canonical_name
        return name in CODECS and (name != "h264" or context.pix_fmt in H264_FORMATS)
