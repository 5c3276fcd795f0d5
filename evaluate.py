"""Score dubbed videos, or a generator: sync offset, LSE-D, LSE-C, and similarity of the mouth to a reference.

    python evaluate.py --video dubbed.mp4
    python evaluate.py --video dubbed.mp4 --audio speech.wav --reference original.mp4
    python evaluate.py --video results/                       # every video in a folder
    python evaluate.py --list pairs.csv                       # columns video, audio, reference; the last two optional
    python evaluate.py --generator checkpoints/mine/best.pth --data_root preprocessed   # on the held-out clips

A scorer compares windows of five frames with the sound at every shift of up to 15 frames, over the whole video and for
every second. LSE-D is the distance at the best shift (lower is better); LSE-C is how far the median shift lies above it
(higher is better); the offset is the best shift in frames, positive where the sound is late, negative where it is early
(the published tool prints the opposite sign). By default all installed scorers are used: checkpoints/syncnet_v2.model,
which papers use, checkpoints/lipsync_expert.pth, and the bundled expert. Compare only scores of the same scorer.
Similarity is measured on the lower half of the face: L1 (0 to 1), PSNR in dB, SSIM.

A generator is scored on the clips of eval.txt: similarity with another frame of the clip as reference, and sync with
the speech of another clip, between real footage as the upper bound and a still frame as the lower bound. Use an expert
that the generator was not trained with; otherwise the score is the loss.

Prints a table and writes it as JSON (--outfile), for videos with a page of plots beside it. Exit code 1: some of
several videos could not be scored.
"""

import argparse
from pathlib import Path

from metrics import EvaluationOptions
from models.published import ensure_weights
from utils import cli
from utils.files import writable_folder, write_json
from utils.settings import from_args


def main(args: argparse.Namespace) -> int:
    options = ensure_weights(from_args(EvaluationOptions, args), args.yes)
    from metrics import score_report
    from metrics.generators import evaluate_generator
    from metrics.videos import evaluate_videos, means
    from reports import page

    outfile = options.outfile or Path("results") / ("generator.json" if options.generator else "scores.json")
    writable_folder(outfile.parent, "--outfile")
    if options.generator:
        result = evaluate_generator(options)
        write_json(outfile, result)
        print(score_report.format_generator(result))
        return 0

    scores, failed = evaluate_videos(options)
    plots = outfile.with_suffix(".html")
    write_json(outfile, {"videos": [score.as_json() for score in scores], "mean": means(scores)})
    page.write(plots, "How well lips and sound fit", score_report.video_parts(scores))
    print(score_report.format_scores(scores))
    print(f"{outfile}, plots in {plots}")
    return 1 if failed else 0


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    return cli.parser_for(__doc__, EvaluationOptions).parse_args(argv)


if __name__ == "__main__":
    cli.run(main, parse_args)
