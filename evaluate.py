"""How good a dub is, or a generator: sync offset, LSE-D and LSE-C, and the mouth's likeness to a reference.

    python evaluate.py --video dubbed.mp4
    python evaluate.py --video dubbed.mp4 --audio speech.wav --reference original.mp4
    python evaluate.py --video results/                       # every video in a folder
    python evaluate.py --list pairs.csv                       # columns video, audio, reference; these may be empty
    python evaluate.py --generator checkpoints/mine/best.pth --data_root preprocessed   # on held-out clips

Windows of five frames are compared with the sound at every shift of up to 15 frames, over the whole video and for every
second of it. LSE-D is the distance at the shift where they lie closest (less is better), LSE-C how much farther they
lie at the median shift (more is better), the offset that shift in frames: above zero where the sound is late, below
where it is early (the published tool prints the opposite sign). The scorers are those given, or those there are:
checkpoints/syncnet_v2.model, which papers' numbers come from, checkpoints/lipsync_expert.pth, the bundled expert.
Only scores by one scorer can be compared. Likeness is measured on the lower half of the face, where it is: L1
(0 to 1), PSNR in dB, SSIM.

A generator is scored on the clips of eval.txt: likeness with another frame of the clip as reference; sync with the
speech of another clip, real footage as the ceiling and a still frame as the floor. Give an expert that it was not
trained with, so that the score is not the loss.

Prints a table and writes it as JSON (--outfile), for videos with a page of plots beside it. Exit code 1 where some of
several videos could not be scored.
"""

import argparse
from pathlib import Path

from metrics.options import EvaluationOptions
from models.download import ensure_weights
from utils import cli
from utils.files import writable_folder, write_json
from utils.options import from_args


def main(args: argparse.Namespace) -> int:
    options = ensure_weights(from_args(EvaluationOptions, args), args.yes)
    from metrics import report
    from metrics.generators import evaluate_generator
    from metrics.videos import evaluate_videos, means
    from reports import page

    outfile = options.outfile or Path("results") / ("generator.json" if options.generator else "scores.json")
    writable_folder(outfile.parent, "--outfile")
    if options.generator:
        result = evaluate_generator(options)
        write_json(outfile, result)
        print(report.format_generator(result))
        return 0

    scores, failed = evaluate_videos(options)
    plots = outfile.with_suffix(".html")
    write_json(outfile, {"videos": [score.as_json() for score in scores], "mean": means(scores)})
    page.write(plots, "How well lips and sound fit", report.video_parts(scores))
    print(report.format_scores(scores))
    print(f"{outfile}, plots in {plots}")
    return 1 if failed else 0


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    return cli.parser_for(__doc__, EvaluationOptions).parse_args(argv)


if __name__ == "__main__":
    cli.run(main, parse_args)
