"""Between two readings: means of the losses, windows a second, the share of time spent waiting for data."""

import time

import torch


class Meter:
    def __init__(self, step_size: int, state: dict | None = None):
        """step_size: windows; state: of the meter of an interrupted run, so that its log goes on without a break."""
        self.step_size = step_size
        self._clear()
        state = state or {}
        self.sums, self.batches = state.get("sums", {}), state.get("batches", 0)
        self.last: dict[str, float] = state.get("last", {})  # reading, set by who reads

    def state(self) -> dict:
        sums = {name: float(total) for name, total in self.sums.items()}
        return {"sums": sums, "batches": self.batches, "last": self.last}

    def _clear(self) -> None:
        self.sums, self.batches, self.steps, self.seconds, self.waited = {}, 0, 0, 0.0, 0.0

    def waits(self) -> None:
        self.since = time.perf_counter()

    def works(self) -> None:
        self.waited += self._count()

    def add(self, losses: dict[str, torch.Tensor]) -> None:
        """The losses of one batch; not read here, since a GPU would be waited for."""
        for name, value in losses.items():
            self.sums[name] = self.sums.get(name, 0.0) + value
        self.batches += 1
        self._count()

    def step_done(self) -> None:
        self._count()
        self.steps += 1

    def _count(self) -> float:
        """Add the time since the last call to the seconds; returns it."""
        before, self.since = self.since, time.perf_counter()
        self.seconds += self.since - before
        return self.since - before

    def read(self) -> dict[str, float]:
        """Means and rates since the reading before; the time that a GPU needs to finish counts in."""
        self.since = time.perf_counter()
        means = {name: float(total) / self.batches for name, total in self.sums.items()}
        self._count()
        means |= {"windows/s": self.steps * self.step_size / self.seconds, "waiting": self.waited / self.seconds}
        self._clear()
        return means
