"""The decoder computes the rows that are wanted, and these as it does in a whole face."""

import pytest
import torch

from conftest import NARROW
from models import Wav2Lip
from models.rows import needed_rows


@pytest.mark.parametrize("first_row", [1, 20, 44, 47, 95])
def test_the_rows_that_are_wanted_are_those_of_the_whole_face(first_row):
    # In double precision, since a backend may choose another kernel for another size, which rounds differently
    torch.manual_seed(0)
    generator = Wav2Lip(NARROW.width).eval().double()
    mel, faces = torch.randn(2, 1, 80, 16).double(), torch.rand(2, 6, 96, 96).double()
    with torch.inference_mode():
        whole, lower = generator(mel, faces), generator(mel, faces, first_row)
    assert lower.shape == (2, 3, 96 - first_row, 96)
    torch.testing.assert_close(lower, whole[:, :, first_row:], rtol=0, atol=1e-12)


def test_single_precision_differs_by_its_rounding_at_most():
    torch.manual_seed(0)
    generator = Wav2Lip(NARROW.width).eval()
    mel, faces = torch.randn(2, 1, 80, 16), torch.rand(2, 6, 96, 96)
    with torch.inference_mode():
        torch.testing.assert_close(generator(mel, faces, 44), generator(mel, faces)[:, :, 44:], rtol=0, atol=5e-7)


def test_every_stage_is_cut_where_the_rows_below_need_nothing_above():
    generator = Wav2Lip(NARROW.width)
    assert needed_rows(generator.face_decoder_blocks, generator.output_block, 44) == [0, 0, 0, 3, 9, 20, 43]
    assert needed_rows(generator.face_decoder_blocks, generator.output_block, 0) == [0] * 7
