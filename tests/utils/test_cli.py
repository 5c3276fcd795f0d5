"""What scripts print reaches any terminal."""

import os
import subprocess
import sys
from pathlib import Path

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
