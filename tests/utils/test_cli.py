"""What scripts print reaches any terminal; how they end."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from utils import cli

ROOT = Path(__file__).parent.parent.parent


def test_names_that_the_terminal_cannot_encode_do_not_end_a_run():
    program = (
        "from types import SimpleNamespace; from utils import cli; "
        "cli.run(lambda args: print('Zo\\xeb \\u4e2d done'), SimpleNamespace(debug=False))"
    )
    environment = os.environ | {"PYTHONIOENCODING": "ascii", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", program]
    result = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert result.stdout == "Zo\\xeb \\u4e2d done\n"


def test_sigterm_ends_a_script_as_ctrl_c_does(capsys):
    undone = []

    def main(_) -> None:
        try:
            signal.raise_signal(signal.SIGTERM)
        finally:
            undone.append(True)

    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(SystemExit) as end:
        cli.run(main, SimpleNamespace(debug=False))
    assert (end.value.code, undone, capsys.readouterr().err) == (130, [True], "interrupted\n")
    assert signal.getsignal(signal.SIGTERM) is before
