"""What a video holds beside picture and sound, for a dub of it: chapters, subtitles, timecode."""

import re
from collections.abc import Iterator
from contextlib import suppress
from fractions import Fraction
from typing import Any

import av

from media import stamps
from media.clock import Span, picture_stream
from media.findings import note
from media.reader import VideoReader, open_media

TIMECODE = re.compile(r"\d\d:\d\d:\d\d[:;.]\d\d")
MOST_FPS = 255  # that a timecode can count
DROP_FRAME_RATE = 30  # and multiples of it: where a timecode may have a semicolon


def hand_on(container: Any, source: VideoReader, shown: Span, rate: Fraction, suffix: str) -> Iterator[av.Packet]:
    """Give `container`, an output of this suffix to which no packet was muxed yet, what it can hold of these; yields
    the packets of subtitles. The findings of `source` name what it cannot hold.

    shown: the part of the source, from its zero, that the output begins with; rate: pictures a second of the output.
    """
    with open_media(source.path) as opened:
        container.set_chapters(_chapters(opened.chapters(), source.clock.zero, shown))
        _hand_on_timecode(container, source, picture_stream(opened), shown, rate)
        copies = {}
        for stream in opened.streams.subtitles:
            form = stream.codec_context.name if stream.codec_context else "unknown"
            try:
                copies[stream.index] = container.add_stream_from_template(stream)
            except (
                av.error.FFmpegError,
                ValueError,
                AttributeError,
            ):  # AttributeError: of a codec FFmpeg does not know
                note(source.findings, f"subtitles lost ({form} in {suffix})")
                continue
            copies[stream.index].metadata.update(stream.metadata)
            copies[stream.index].disposition = stream.disposition
        streams = [stream for stream in opened.streams.subtitles if stream.index in copies]
        latest = dict.fromkeys(copies, 0)
        with suppress(av.error.FFmpegError):  # broken from here on, as the pictures' decoder finds, too
            for packet in stamps.packets(opened, *streams) if streams else ():
                if packet.pts is None or not packet.size:
                    continue
                unit, index = packet.time_base, packet.stream_index
                begin = float(packet.pts * unit) - source.clock.zero - shown.start
                end = min(begin + float((packet.duration or 0) * unit), shown.end - shown.start)
                ticks = round(max(0.0, begin) / unit)
                if end < max(0.0, begin) or begin >= shown.end - shown.start or ticks < latest[index]:
                    continue
                packet.pts = packet.dts = latest[index] = ticks
                packet.duration = round(end / unit) - ticks
                packet.stream = copies[index]
                yield packet


def _chapters(chapters: list[dict], zero: float, shown: Span) -> list[dict]:
    """Those that are shown, at the times of the output."""
    kept = []
    for chapter in chapters:
        unit = chapter["time_base"]
        begin, end = (
            min(max(float(chapter[edge] * unit) - zero, shown.start), shown.end) - shown.start
            for edge in ("start", "end")
        )
        if end > begin:
            kept.append(chapter | {"start": round(begin / unit), "end": round(end / unit)})
    return kept


def _hand_on_timecode(container: Any, source: VideoReader, stream: Any, shown: Span, rate: Fraction) -> None:
    """That of the first picture, which is no other one's."""
    tags = {key.lower(): (key, value) for key, value in [*source.metadata.items(), *stream.metadata.items()]}
    if "timecode" not in tags:
        return
    name, code = tags["timecode"]
    kept = TIMECODE.fullmatch(code) and not shown.start and rate == source.rate and 1 <= round(rate) <= MOST_FPS
    if kept and (";" not in code or round(rate) % DROP_FRAME_RATE == 0):
        container.metadata["timecode"] = code
    else:
        container.metadata.pop(name, None)
        note(source.findings, "timecode lost")
