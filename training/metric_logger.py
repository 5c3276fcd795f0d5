"""Between two readings: means of the losses, frames a second, the share of time spent waiting for data."""

import time

import torch


class MetricLogger:
    """step_frames: frames in one step; state: of the logger of an interrupted run, so that its log goes on without a
    break; last: the latest reading."""

    def __init__(self, step_frames: int, state: dict | None = None) -> None:
        state = state or {}
        self.step_frames = step_frames
        self.last: dict[str, float] = state.get("last", {})
        self._sums: dict[str, torch.Tensor | float] = dict(state.get("sums", {}))
        self._batches: int = state.get("batches", 0)
        self._steps = 0
        self._seconds = self._waited = 0.0
        self._since = time.perf_counter()

    def state(self) -> dict:
        """What a checkpoint holds of it."""
        sums = {name: float(total) for name, total in self._sums.items()}
        return {"sums": sums, "batches": self._batches, "last": self.last}

    def start_waiting(self) -> None:
        """A batch is asked for."""
        self._since = time.perf_counter()

    def stop_waiting(self) -> None:
        """The batch is there."""
        self._waited += self._count()

    def add(self, losses: dict[str, torch.Tensor]) -> None:
        """The losses of one batch; not read here, since a GPU would be waited for."""
        for name, value in losses.items():
            self._sums[name] = self._sums.get(name, 0.0) + value
        self._batches += 1
        self._count()

    def step_done(self) -> None:
        self._count()
        self._steps += 1

    def read(self) -> dict[str, float]:
        """Means and rates since the reading before; the time that a GPU needs to finish counts in."""
        self._since = time.perf_counter()
        means = {name: float(total) / self._batches for name, total in self._sums.items()}
        self._count()
        means |= {"frames/s": self._steps * self.step_frames / self._seconds, "waiting": self._waited / self._seconds}
        self._sums, self._batches, self._steps, self._seconds, self._waited = {}, 0, 0, 0.0, 0.0
        return means

    def _count(self) -> float:
        """Add the time since the last call to the seconds; returns it."""
        before, self._since = self._since, time.perf_counter()
        self._seconds += self._since - before
        return self._since - before
