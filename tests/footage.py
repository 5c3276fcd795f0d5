"""Footage, detections and looks at dubs that several tests share."""

import json
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from media import yuv
from media.reader import VideoReader
from media.writer import VideoWriter

BOX = ["--box", 57, 177, 178, 273]  # the face in the portrait


def planes_of(path) -> list[list[np.ndarray]]:
    """The planes of every frame of a video."""
    return [[plane.copy() for plane in yuv.planes(picture)] for _, picture in VideoReader(path).pictures()]


def record_of(path) -> dict:
    """What a dub wrote down beside its video."""
    return json.loads(Path(f"{path}.json").read_text(encoding="utf-8"))


def numbered(n: int, width: int = 160, height: int = 120) -> np.ndarray:
    """A picture that tells its number (the grey of the left half) and which way up it is (a white top left corner)."""
    image = np.full((height, width, 3), 40 + 5 * (n % 40), np.uint8)
    image[:, width // 2 :] = (30, 90, 200)
    image[:24, :24] = 255
    return image


def number_of(image: np.ndarray) -> int:
    return round((float(image[image.shape[0] // 2, image.shape[1] // 4].mean()) - 40) / 5)


def encode_sound(stream, samples: np.ndarray, start: float = 0.0) -> list[av.Packet]:
    """All packets of sound from `start` seconds on: float [samples] or [channels, samples]."""
    block = av.AudioFrame.from_ndarray(np.atleast_2d(samples).astype(np.float32), "fltp", stream.layout.name)
    block.rate, block.pts, block.time_base = stream.rate, round(start * stream.rate), Fraction(1, stream.rate)
    return [*stream.encode(block), *stream.encode(None)]


def encode(path, codec, frames=20, fps=25, pix_fmt="yuv420p", size=(160, 120), sound=None, times=None, **metadata):
    """A file of numbered pictures by PyAV directly, not by the writer under test. times: when each is shown, in
    seconds, in place of `frames` and `fps`."""
    unit = Fraction(1, fps) if times is None else Fraction(1, 1000)
    with av.open(str(path), "w") as container:
        container.metadata.update(metadata)
        stream = container.add_stream(codec, rate=fps)
        stream.width, stream.height, stream.pix_fmt = *size, pix_fmt
        stream.bit_rate = 2_000_000
        if sound is not None:
            sound_codec = "mp2" if path.suffix in (".mpg", ".avi") else "aac"
            track = container.add_stream(sound_codec, rate=44100, layout="stereo")
        stream.codec_context.time_base = unit
        for n, time in enumerate([n / fps for n in range(frames)] if times is None else times):
            frame = av.VideoFrame.from_ndarray(numbered(n, *size), format="bgr24")
            frame.pts, frame.time_base = round(time / unit), unit
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
        if sound is not None:
            container.mux(encode_sound(track, np.stack([sound, sound])))
    return path


def write_video(path, pictures, fps: int = 25, sound=None, encoding=None):
    """A file of BGR pictures by the writer of dubs."""
    with VideoWriter(path, Fraction(fps), sound, encoding=encoding) as writer:
        for n, picture in enumerate(pictures):
            writer.write(np.ascontiguousarray(picture), n / fps)
    return path


def click_track(seconds: float, at: float, rate: int = 44100) -> np.ndarray:
    wav = np.zeros(int(seconds * rate), np.float32)
    wav[int(at * rate) : int(at * rate) + 200] = 0.8
    return wav


def recording(path, *tracks, codec="aac", rate=48_000, sound_at=0.0, pictures_at=0.0, lost=(), marks=()):
    """A second of numbered pictures, and tracks of sound, float [samples] or [6, samples], from these times on.
    lost: numbers of packets, from 1 on, that are left out; marks: dispositions of the tracks."""
    with av.open(str(path), "w") as out:
        video = out.add_stream("mpeg4", rate=25)
        video.width, video.height, video.pix_fmt = 160, 120, "yuv420p"
        layouts = ["mono" if samples.ndim == 1 else "5.1" for samples in tracks]
        streams = [out.add_stream(codec, rate=rate, layout=layout) for layout in layouts]
        for stream, mark in zip(streams, marks, strict=False):
            stream.disposition = mark
        for n in range(25):
            frame = av.VideoFrame.from_ndarray(numbered(n), format="bgr24")
            frame.pts, frame.time_base = n + round(pictures_at * 25), Fraction(1, 25)
            out.mux(video.encode(frame))
        out.mux(video.encode(None))
        for stream, samples in zip(streams, tracks, strict=True):
            for number, packet in enumerate(encode_sound(stream, samples, sound_at), 1):
                if number not in lost:
                    out.mux(packet)
    return path


def face(x: float, y: float = 50, size: float = 100, score: float = 0.9) -> list[float]:
    return [x, y, x + size, y + size, score]


def frames_of(*boxes_per_frame) -> list[np.ndarray]:
    return [np.array(boxes, np.float32).reshape(-1, 5) for boxes in boxes_per_frame]


def film(path, codec: str, images, pix_fmt: str, options=None, field: str = "", matrix=None, **tags):
    """A file of BGR or RGBA pictures by PyAV directly. field: tff or bff marks them as interlaced; matrix: display
    matrix; tags: colorspace, color_range ... of the codec context, by which the pictures are converted too."""
    height, width, channels = images[0].shape
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25, options=options or {})
        stream.width, stream.height, stream.pix_fmt = width, height, pix_fmt
        for name, value in tags.items():
            setattr(stream.codec_context, name, value)
        if matrix is not None:
            stream.set_display_matrix(matrix)
        graph = av.filter.Graph()
        source = graph.add("buffer", f"video_size={width}x{height}:pix_fmt={pix_fmt}:time_base=1/25")
        graph.link_nodes(source, graph.add("setfield", field or "prog"), graph.add("buffersink")).configure()
        for n, image in enumerate(images):
            frame = av.VideoFrame.from_ndarray(image, format="rgba" if channels == 4 else "bgr24")
            frame = frame.reformat(
                format=pix_fmt, dst_colorspace=tags.get("colorspace"), dst_color_range=tags.get("color_range")
            )
            frame.colorspace, frame.color_range = tags.get("colorspace", 2), tags.get("color_range", 0)
            frame.pts, frame.time_base = n, Fraction(1, 25)
            graph.vpush(frame)
            container.mux(stream.encode(graph.vpull()))
        container.mux(stream.encode(None))
    return path
