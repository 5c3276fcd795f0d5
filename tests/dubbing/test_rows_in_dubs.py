"""Rows of a generated face that a dub does not show are not computed, and nothing in the picture tells."""

import numpy as np
import pytest
from test_dubbing import BOX, planes_of

from dubbing import networks
from dubbing.paste import first_row, soft_mask, style_mask


@pytest.mark.parametrize(("style", "size", "row"), [("soft", 96, 44), ("soft", 192, 92), ("box", 96, 0)])
def test_the_first_row_follows_from_the_mask_of_the_style(style, size, row):
    assert first_row(style, size) == row
    assert not style_mask(style, size)[: row + 3].any() or style == "box"
    assert soft_mask(96)[48].any()


def test_a_dub_is_the_same_with_and_without_the_upper_rows(dub, tmp_path, monkeypatch):
    common = [*BOX, "--codec", "ffv1", "--precision", "fp32", "--preview", 0.4, "--no_score"]
    assert dub(*common, "--outfile", tmp_path / "lower.mkv").code == 0
    monkeypatch.setattr(networks, "first_row", lambda style, size: 0)
    assert dub(*common, "--outfile", tmp_path / "whole.mkv").code == 0
    lower, whole = planes_of(tmp_path / "lower.mkv"), planes_of(tmp_path / "whole.mkv")
    for ours, theirs in zip(lower, whole, strict=True):
        for one, other in zip(ours, theirs, strict=True):  # a backend may round another size otherwise
            assert np.abs(one.astype(int) - other).max() <= 1
