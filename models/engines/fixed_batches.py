"""The generator on a GPU, in batches of one size.

Buffers on the device stay where they are, so that all that a batch takes is recorded once as a CUDA graph and replayed
with a single launch. Page-locked buffers in two places take turns: while the GPU works on one batch, the next is
written. Pictures travel as uint8; floats, the masked half and levels are made on the device.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from threading import Lock

import numpy as np
import torch
from torch import nn

from models.batched_generator import draw_faces
from utils.errors import warn

PLACES = 2
WARM_UPS = 3  # before a graph is recorded: libraries set themselves up and choose their algorithms


class FixedBatches:
    """Batches of `batch_size` faces, fewer being filled up; a face does not depend on those that come with it.

    generator: from fold_batch_norms, on the device; size: pixels of a face's sides; mel_shape: (80, 16); first_row:
    from which row on faces are drawn. Where no graph can be recorded a warning says so and its steps are launched one
    by one; a CPU does that anyway. Raises torch.OutOfMemoryError where the device has too little memory.
    """

    def __init__(
        self,
        generator: nn.Module,
        device: torch.device,
        batch_size: int,
        size: int,
        mel_shape: tuple[int, int],
        first_row: int = 0,
    ) -> None:
        self.generator, self.device, self.batch_size, self.first_row = generator, device, batch_size, first_row
        shapes = (batch_size, size, size, 3), (batch_size, 1, *mel_shape), (batch_size, size - first_row, size, 3)
        self.faces = torch.zeros(shapes[0], dtype=torch.uint8, device=device)
        self.mels = torch.zeros(shapes[1], device=device)
        self.places = [_Place(shapes, device) for _ in range(PLACES)]
        self.stream = torch.cuda.Stream(device) if device.type == "cuda" else None
        self.graph, self.generated = self._recorded()
        self.in_use = Lock()  # the buffers are one call's at a time

    @torch.inference_mode()
    def __call__(self, faces: np.ndarray, mels: np.ndarray) -> np.ndarray:
        """faces: uint8 BGR [N, S, S, 3], each its own reference; mels: float32 [N, 1, 80, 16] -> uint8 BGR
        [N, S - first_row, S, 3]."""
        with self.in_use:
            return self._drawn(faces, mels)

    def _drawn(self, faces: np.ndarray, mels: np.ndarray) -> np.ndarray:
        drawn = np.empty((len(faces), faces.shape[1] - self.first_row, *faces.shape[2:]), np.uint8)
        before: tuple[_Place, slice] | None = None
        for number, first in enumerate(range(0, len(faces), self.batch_size)):
            place, part = self.places[number % PLACES], slice(first, first + self.batch_size)
            place.fill(faces[part], mels[part])
            self._start(place)
            if before:
                before[0].read(drawn[before[1]])
            before = place, part
        if before:
            before[0].read(drawn[before[1]])
        return drawn

    def _start(self, place: "_Place") -> None:
        with self._on_stream():
            self.faces.copy_(place.faces, non_blocking=True)
            self.mels.copy_(place.mels, non_blocking=True)
            if self.graph:
                self.graph.replay()
            else:
                self.generated = self._draw()
            place.generated.copy_(self.generated, non_blocking=True)
            place.started(self.stream)

    def _draw(self) -> torch.Tensor:
        return draw_faces(self.generator, self.faces, self.faces, self.mels, self.first_row).contiguous()

    @torch.inference_mode()
    def _recorded(self) -> tuple[torch.cuda.CUDAGraph | None, torch.Tensor]:
        """The graph of one batch, and the tensor that it leaves its result in; without a graph the first result."""
        if self.stream is None:
            return None, self._draw()
        self.stream.wait_stream(torch.cuda.current_stream(self.device))  # which the weights came by
        with torch.cuda.device(self.device), self._on_stream(), algorithms_by_trial():
            for _ in range(WARM_UPS):  # where memory runs out it does so here, which a recording would not survive
                generated = self._draw()
            try:
                return record(self._draw, self.stream)
            except RuntimeError as error:
                warn(f"--device {self.device}: works without a CUDA graph ({str(error).splitlines()[0]})")
                return None, generated

    def _on_stream(self) -> AbstractContextManager:
        return torch.cuda.stream(self.stream) if self.stream else nullcontext()


def record(work: Callable[[], torch.Tensor], stream: torch.cuda.Stream) -> tuple[torch.cuda.CUDAGraph, torch.Tensor]:
    """What work() launches, as a graph, and the tensor in which every replay leaves its result. Other threads may go on
    using the device meanwhile."""
    stream.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, stream=stream, capture_error_mode="thread_local"):
        result = work()
    return graph, result


class _Place:
    """Buffers in page-locked memory, which a GPU reads and writes by itself, of one batch on its way there and back."""

    def __init__(self, shapes: tuple[tuple[int, ...], ...], device: torch.device) -> None:
        locked = device.type == "cuda"
        kinds = torch.uint8, torch.float32, torch.uint8
        self.faces, self.mels, self.generated = (
            torch.zeros(shape, dtype=kind, pin_memory=locked) for shape, kind in zip(shapes, kinds, strict=True)
        )
        self.done = torch.cuda.Event() if locked else None

    def fill(self, faces: np.ndarray, mels: np.ndarray) -> None:
        """Write a batch, or less than one: what is behind it stays as it is."""
        self.faces.numpy()[: len(faces)] = faces
        self.mels.numpy()[: len(mels)] = mels

    def started(self, stream: torch.cuda.Stream | None) -> None:
        if self.done:
            self.done.record(stream)

    def read(self, target: np.ndarray) -> None:
        """Wait for the batch and copy as much of it as the target takes."""
        if self.done:
            self.done.synchronize()
        target[:] = self.generated.numpy()[: len(target)]


@contextmanager
def algorithms_by_trial() -> Iterator[None]:
    """cuDNN tries its algorithms, once for each size, and stays with the fastest."""
    before = torch.backends.cudnn.benchmark
    torch.backends.cudnn.benchmark = True
    try:
        yield
    finally:
        torch.backends.cudnn.benchmark = before
