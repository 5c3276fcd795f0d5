"""Containers and codecs: which files are read, what each container takes, how each encoder is told the quality, what
browsers play. Options are made from them, so PyAV is not imported here."""

from dataclasses import dataclass, field

DEINTERLACE = {"frame": "send_frame", "field": "send_field", "off": None}  # modes of FFmpeg's filter bwdif


@dataclass(frozen=True)
class Codec:
    encoder: str
    suffixes: tuple[str, ...]
    crf: int | None = None  # quality by default, on the encoder's own scale; None: it has none
    preset: str | None = None
    options: dict = field(default_factory=dict)
    pix_fmts: tuple[str, str] = ("yuv420p", "yuv420p10le")  # for 8 bits, and for more
    with_alpha: tuple[str, dict] | None = None  # pixel format and options that keep what is transparent
    worst_crf: int = 63  # the last at which a mouth is more than a few blocks; 63 ends the scales of AV1 and VP9


CONTAINERS = {  # FFmpeg's names; by itself it takes .m4v for what players of that name hold, neither HEVC nor MP3
    ".mp4": "mp4", ".m4v": "mp4", ".mov": "mov", ".mkv": "matroska", ".webm": "webm",
}  # fmt: skip
PCM = tuple(f"pcm_{kind}" for kind in ("s16le", "s24le", "s32le", "f32le"))
COPIED_SOUND = {  # codecs that players expect in a file of this kind; other sound is encoded
    ".mp4": ("aac", "mp3", "ac3", "eac3", "alac"),
    ".m4v": ("aac", "mp3", "ac3", "eac3", "alac"),
    ".mov": ("aac", "mp3", "ac3", "alac", *PCM),
    ".mkv": ("aac", "mp3", "ac3", "eac3", "alac", "flac", "opus", "vorbis", *PCM),
    ".webm": ("opus", "vorbis"),
}
MP4_LIKE = (".mp4", ".mov", ".m4v", ".mkv")
CODECS = {
    "h264": Codec(  # few players take more than 8 bits
        "libx264", MP4_LIKE, 18, "veryfast", pix_fmts=("yuv420p", "yuv420p"), worst_crf=40
    ),
    "hevc": Codec("libx265", MP4_LIKE, 20, "fast", {"x265-params": "log-level=error:open-gop=0"}, worst_crf=44),
    "av1": Codec("libsvtav1", (".mp4", ".mkv", ".webm"), 25, "8"),
    "vp9": Codec(
        "libvpx-vp9",
        (".webm", ".mkv"),
        25,
        None,
        {"b": "0", "deadline": "good", "cpu-used": "4", "row-mt": "1"},
        ("yuv420p", "yuv420p"),
        ("yuva420p", {}),
    ),
    "prores": Codec(
        "prores_ks",
        (".mov", ".mkv"),
        None,
        None,
        {"profile": "hq"},
        ("yuv422p10le", "yuv422p10le"),
        ("yuva444p10le", {"profile": "4444"}),
    ),
    "ffv1": Codec("ffv1", (".mkv",), None, None, {"level": "3", "slices": "4", "slicecrc": "1"}),
}
SUFFIXES = tuple(sorted({suffix for codec in CODECS.values() for suffix in codec.suffixes}))

# FFmpeg's names of what is read: files that hold what they show. Playlists name other files and addresses, and may have
# no end.
READ_FORMATS = (
    "mov", "matroska", "avi", "asf", "flv", "mpeg", "mpegts", "mpegvideo", "mxf", "ogg", "nut", "dv", "rm", "ivf",
    "h264", "hevc", "m4v", "mjpeg", "yuv4mpegpipe", "gif", "apng", "jpegxl_anim",
    "wav", "w64", "mp3", "aac", "ac3", "eac3", "aiff", "amr", "ape", "au", "caf", "dts", "flac", "tta", "voc", "wv",
    "bmp_pipe", "jpeg_pipe", "jpegxl_pipe", "png_pipe", "tiff_pipe", "webp_pipe",
)  # fmt: skip
READ_OPTIONS = {"format_whitelist": ",".join(READ_FORMATS), "protocol_whitelist": "file"}
VIDEO_SUFFIXES = {
    ".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".mts", ".m2ts", ".ts", ".wmv", ".flv", ".3gp",
    ".ogv", ".mxf", ".vob",
}  # fmt: skip
OTHER_SUFFIXES = {  # common in folders of videos; files of all other names are opened to see what they hold
    ".jpg", ".jpeg", ".png", ".gif", ".webp", ".bmp", ".tif", ".tiff", ".avif", ".heic", ".wav", ".mp3", ".m4a", ".aac",
    ".flac", ".ogg", ".opus", ".txt", ".md", ".json", ".csv", ".html", ".xml", ".pdf", ".srt", ".vtt", ".ass", ".log",
    ".ini", ".db", ".py", ".npy", ".npz", ".pth", ".pt", ".safetensors", ".zip", ".gz", ".tar", ".thm", ".part",
}  # fmt: skip
BROWSER_SUFFIXES, BROWSER_CODECS = (".mp4", ".m4v", ".mov", ".webm"), ("h264", "vp8", "vp9", "av1")
BROWSER_H264 = ("yuv420p", "yuvj420p")  # pixel formats; editors use others
BROWSER_PICTURES = (".jpg", ".jpeg", ".png", ".webp", ".gif", ".avif", ".bmp")
