"""Paths, the golden reference numbers, and small real-looking footage that every test can make."""

import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
