"""Which rows a decoder has to compute when only the lower rows of its picture are wanted.

    wanted          rows 44 to 95 of 96
    output block    a 3x3 convolution: rows from 43 of what it is given
    last stage      two 3x3 convolutions behind a transposed one: from 41, made of rows from 20 of 48
    the stage before                                             from 18, made of rows from 9 of 24, and so on

A convolution pads what it is given with zeros, so that rows near a cut are wrong; those are the rows that are computed
in excess and belong to nobody.
"""

from collections.abc import Iterable
from functools import reduce

from torch import nn


def needed_rows(stages: Iterable[nn.Module], output: nn.Module, first_row: int) -> list[int]:
    """From which row on the result of each stage is needed, in the stages' order, so that the output's rows from
    `first_row` on are those of the whole.

    stages: a decoder's, each given the one's before; output: what is given the last one's.
    """
    row = _needed_input(output, first_row)
    rows = [row]
    for stage in reversed([*stages][1:]):
        row = _needed_input(stage, row)
        rows.append(row)
    return rows[::-1]


def first_output(stage: nn.Module, first_input: int) -> int:
    """The row that the stage's result begins with where what it is given begins with the row `first_input`."""
    strides = [conv.stride[0] for conv in _convolutions(stage) if isinstance(conv, nn.ConvTranspose2d)]
    return reduce(int.__mul__, strides, first_input)


def _needed_input(block: nn.Module, first_row: int) -> int:
    return reduce(_read_from, reversed(_convolutions(block)), first_row)


def _read_from(row: int, conv: nn.Conv2d | nn.ConvTranspose2d) -> int:
    """The first row of its input that this row of a convolution's result, or one below it, is made of."""
    (kernel, _), (stride, _) = conv.kernel_size, conv.stride
    padding = int(conv.padding[0])
    if isinstance(conv, nn.ConvTranspose2d):  # its input row i is added to the rows stride·i - padding + 0…kernel-1
        return max(0, -((kernel - 1 - padding - row) // stride))
    return max(0, row * stride - padding)


def _convolutions(block: nn.Module) -> list[nn.Conv2d | nn.ConvTranspose2d]:
    return [module for module in block.modules() if isinstance(module, nn.Conv2d | nn.ConvTranspose2d)]
