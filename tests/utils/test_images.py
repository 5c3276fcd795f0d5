"""Sheets of pictures: labelled rows, pictures large enough to see."""

import numpy as np

from utils import images


def flat(value: int, side: int) -> np.ndarray:
    return np.full((side, side, 3), value, np.uint8)


def test_small_pictures_are_enlarged_and_every_row_has_its_label():
    drawn = images.labelled_rows({"source": [flat(10, 96), flat(20, 96)], "result": [flat(30, 96), flat(40, 96)]})
    assert drawn.shape == (2 * images.SIDE, images.LABEL_WIDTH + 2 * images.SIDE, 3)
    for number in range(2):
        row = drawn[number * images.SIDE : (number + 1) * images.SIDE]
        assert row[:, : images.LABEL_WIDTH].max() > 200  # the text
        assert row[0, images.LABEL_WIDTH].tolist() == [10 + 20 * number] * 3
    labels = drawn[: images.SIDE, : images.LABEL_WIDTH], drawn[images.SIDE :, : images.LABEL_WIDTH]
    assert (labels[0] != labels[1]).any()


def test_large_pictures_keep_their_size():
    assert images.labelled_rows({"true": [flat(0, 256)] * 3}).shape == (256, images.LABEL_WIDTH + 3 * 256, 3)


def test_a_row_is_taken_out_of_a_sheet_without_its_label():
    drawn = images.labelled_rows({"one": [flat(10, 200)] * 2, "two": [flat(20, 200)] * 2})
    row = images.pictures_of(drawn, 2, 1)
    assert row.shape == (200, 400, 3)
    assert (row == 20).all()
