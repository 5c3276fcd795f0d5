"""The picture to dub: a video or a still, reduced, turned and cropped as asked, played again from its start when the
speech is longer."""

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np

from cli import InputError
from video import IMAGE_SUFFIXES, Frame, VideoReader, read_image


@dataclass(frozen=True)
class Shape:
    """What is done to every frame, in this order.

    resize_factor: the sides are divided by it; rotate: a quarter turn clockwise; crop: top, bottom, left, right in
    pixels, -1 for the far edge.
    """

    resize_factor: int = 1
    rotate: bool = False
    crop: tuple[int, int, int, int] = (0, -1, 0, -1)

    def apply(self, image: np.ndarray) -> np.ndarray:
        if self.resize_factor > 1:
            height, width = image.shape[:2]
            image = cv2.resize(image, (width // self.resize_factor, height // self.resize_factor))
        if self.rotate:
            image = cv2.rotate(image, cv2.ROTATE_90_CLOCKWISE)
        top, bottom, left, right = self.crop
        height, width = image.shape[:2]
        image = image[top : height if bottom == -1 else bottom, left : width if right == -1 else right]
        if 0 in image.shape:
            raise InputError(f"--crop {top} {bottom} {left} {right}: nothing is left of a frame of {width}x{height}")
        return np.ascontiguousarray(image)


class Source:
    """rate: frames a second; still: the same picture all along. times count from 0 at the first frame."""

    def __init__(self, path: Path, shape: Shape, static: bool, still_fps: float):
        self.path, self.shape = path, shape
        picture = path.suffix.lower() in IMAGE_SUFFIXES
        self.reader = None if picture else VideoReader(path)
        self.rate = Fraction(still_fps).limit_denominator(1001) if picture else self.reader.rate
        self.still = picture or static
        self._picture = None
        if self.still:
            image = read_image(path) if picture else next(self.reader.frames()).image
            self._picture = shape.apply(image)

    def once(self, exact: bool = True) -> Iterator[Frame]:
        """Every frame of one play; of a still, its one picture. See VideoReader.frames for `exact`."""
        if self.still:
            yield Frame(0.0, self._picture)
            return
        for frame in self.reader.frames(exact):
            yield Frame(frame.time - self.reader.start, self.shape.apply(frame.image))

    def first_image(self) -> np.ndarray:
        return next(self.once()).image

    def endless(self) -> Iterator[tuple[int, Frame]]:
        """(number of the frame within one play, frame), played again and again with times that go on."""
        offset = Fraction(0)
        while True:
            for number, frame in enumerate(self.once()):
                yield number, Frame(float(offset) + frame.time, frame.image.copy() if self.still else frame.image)
            offset += Fraction(frame.time).limit_denominator(90_000) + 1 / self.rate
