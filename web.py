"""A page in the browser for what the scripts do: dub, check, score, train, weights.

    pip install -r requirements-web.txt
    python web.py                                      # then open http://127.0.0.1:7860
    python web.py --host 0.0.0.0 --auth                # for others; WAV2LIP_AUTH holds user:password

One job at a time runs on a device, the others wait. Uploads and results lie in --folder for --keep_hours. Programs use
it over HTTP (docs/web.md).
"""

import argparse

from utils import cli
from utils.settings import from_args
from web.site import WebOptions


def main(args: argparse.Namespace) -> None:
    from utils.progress import WAITING, doing
    from web.server import serve

    with doing(WAITING):
        serve(from_args(WebOptions, args))


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    return cli.parser_for(__doc__, WebOptions).parse_args(argv)


if __name__ == "__main__":
    cli.run(main, parse_args)
