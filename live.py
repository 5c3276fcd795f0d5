"""Speak through the face of an idle video: its lips follow sound while it is spoken.

    python live.py --face idle.mp4 --audio alsa:default --out rtmp://example.org/app/key    # a microphone
    synthesizer | python live.py --face idle.mp4 --audio - --out udp://127.0.0.1:9000       # 16-bit PCM, 16 kHz, mono
    python live.py --face idle.mp4 --audio speech.wav --out live.ts      # both files may grow meanwhile

The video is shown forwards and backwards. Where no sound comes the mouth rests and the stream goes on; it ends with
standard input, or with Ctrl-C. Lips and sound come about a quarter of a second after it was heard (docs/live.md).
"""

import argparse
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, fields, make_dataclass
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING

from dubbing.options import Options as DubbingOptions
from models.published import ensure_weights
from utils import cli
from utils.errors import warn
from utils.files import existing_file
from utils.settings import CommonOptions, from_args, option

if TYPE_CHECKING:
    from media.live_writer import LiveFrame

PERCENTILES = {"p50": 0.5, "p95": 0.95, "worst": 1.0}
LONGEST = 10_000  # milliseconds; longer delays count as so long
SHARED = (  # settings of a dub that a stream has, too
    "checkpoint_path", "pads", "resize_factor", "crop", "box", "rotate", "picture_size", "face_at", "face_index",
    "align", "nosmooth", "paste", "occlusion", "silence", "level", "crf", "start", "end", "overwrite", "label",
    "engine", "precision", "no_cache", "face_detector", "own_pixels", "mouths_from",
)  # fmt: skip
OfDubs = make_dataclass(
    "OfDubs", [(setting.name, setting.type, setting) for setting in fields(DubbingOptions) if setting.name in SHARED],
    bases=(CommonOptions,), frozen=True, kw_only=True,
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class LiveOptions(OfDubs):  # type: ignore[misc, valid-type]
    """Every setting of a stream."""

    face: Path = option("idle video, or picture, with the face", common=True)
    audio: str = option(
        "16-bit mono PCM at 16 kHz on standard input (-), a file, a URL, or FORMAT:NAME of a recording device",
        common=True, metavar="SOURCE",
    )  # fmt: skip
    out: str = option(
        "file (.ts, .mp4, .mkv, .flv), URL (udp, rtp, srt, tcp, rtmp), BGR pictures on standard output (-), or camera",
        common=True, metavar="TARGET",
    )  # fmt: skip
    preset: str = option("speed of the encoder, x264", "superfast")
    fast: bool = option("not in real time but as fast as possible, up to the present end of a file", False)
    latency: bool = option("print at the end how long after the sound the lips came", False, common=True)


class Delays(Counter[int]):
    """How often each delay of a picture occurred, in milliseconds."""

    def add(self, frame: "LiveFrame") -> None:
        """That of this picture, now."""
        if frame.picture is not None:
            self[min(LONGEST, round(1000 * (monotonic() - frame.due)))] += 1

    def row(self) -> str:
        """The PERCENTILES."""
        every = sorted(self.elements())
        return "".join(f"{every[round(share * (len(every) - 1))] if every else 0:8}" for share in PERCENTILES.values())


def main(args: argparse.Namespace) -> None:
    options = ensure_weights(from_args(LiveOptions, args), args.yes)
    existing_file(options.face, "--face")
    from dubbing.live import LiveDub
    from media.live_sound import LiveSound, check_source
    from media.live_writer import LiveWriter, check_target
    from utils.progress import WAITING, doing

    check_target(options.out, options.overwrite)
    check_source(options.audio)
    shared = {name: getattr(options, name) for name in (*SHARED, "hparams", "device", "preset")}
    dub = LiveDub(options.face, DubbingOptions(**shared, codec="h264"))
    print(f"{dub}; Ctrl-C ends", flush=True)
    lips, sent, number, late, told = Delays(), Delays(), 0, 0, 0
    writer = LiveWriter(options.out, dub.rate, dub.hp.sample_rate, dub.source.encoding, sent.add)
    with doing(WAITING), suppress(KeyboardInterrupt), writer:
        sound = LiveSound(options.audio, dub.hp.sample_rate, not options.fast)
        for number, frame in enumerate(dub.frames(sound.pieces(), drop=not options.fast), 1):
            lips.add(frame)
            writer.put(frame, wait=options.fast)
            late += frame.picture is None
            if number % round(dub.rate) == 0 and (dropped := late + writer.dropped) > told:
                warn(f"too slow: {dropped - told} of the last {round(dub.rate)} frames dropped")
                told = dropped
    print(f"{options.out}: {number} frames, {late + writer.dropped} of them dropped", flush=True)
    if options.latency:
        print("ms after the sound" + "".join(f"{name:>8}" for name in PERCENTILES))
        print(f"{'dubbed':18}{lips.row()}\n{'sent':18}{sent.row()}", flush=True)


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    args = cli.parser_for(__doc__, LiveOptions).parse_args(argv)
    args.json = args.out == "-"  # all that is printed goes to stderr
    return args


if __name__ == "__main__":
    cli.run(main, parse_args)
