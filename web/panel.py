"""The part of a tab that shows a job: its state, its results, and a button that cancels it."""

import asyncio
from collections.abc import Callable
from typing import Any

import gradio as gr

from utils.errors import InputError
from web import view
from web.jobs import DONE, ENDED, Job
from web.site import EVERYBODY, Site

TICK = 1.0  # seconds
QUIET: dict[str, Any] = {
    "queue": False,
    "show_progress": "hidden",
    "api_visibility": "private",
}  # of what nobody awaits


class Panel:
    """Shows the newest job of these kinds of the session, so that a page that was loaded again finds it.

    show: the results of a job, as HTML; version: text that changes with what there is to show; shared: whether the jobs
    are everybody's.
    """

    def __init__(
        self,
        site: Site,
        key: gr.BrowserState,
        kinds: tuple[str, ...],
        show: Callable[[Job], str],
        version: Callable[[Job], str] = lambda job: job.state,
        shared: bool = False,
    ) -> None:
        self.site, self.key, self.kinds, self.show = site, key, kinds, show
        self.version, self.shared = version, shared
        self.state = gr.HTML(elem_id=f"{kinds[0]}_state")
        self.cancel = gr.Button("Cancel", visible=False, variant="stop", elem_id=f"{kinds[0]}_cancel")
        self.results = gr.HTML(elem_id=f"{kinds[0]}_results")
        self.shown = gr.State("")  # name and state of the job that the results are of
        timer = gr.Timer(TICK)
        outputs = [self.state, self.cancel, self.results, self.shown]
        timer.tick(self._look, [key, self.shown], outputs, **QUIET)
        self.cancel.click(self._cancel, [key], None, **QUIET)

    def starts(self, event: Callable[..., Any], submit: Callable[..., Any], inputs: list[Any]) -> None:
        """Let an event, such as button.click, start a job: submit(*inputs) queues it."""

        def started(*values: Any) -> None:
            try:
                submit(*values)
            except InputError as error:
                raise gr.Error(str(error), print_exception=False) from error

        event(started, inputs, None, api_visibility="private", concurrency_limit=None)

    def _newest(self, key: str) -> Job | None:
        jobs = self.site.jobs(EVERYBODY if self.shared else key)
        return next((job for job in jobs if job.kind in self.kinds), None)

    def _look(self, key: str, shown: str) -> tuple[Any, ...]:
        job = self._newest(key)
        state = view.state_of(job, self.site.queue.place(job) if job else 0)
        active = gr.update(visible=job is not None and job.state not in ENDED)
        now = f"{job.name} {self.version(job)}" if job else ""
        if now == shown:
            return state, active, gr.skip(), gr.skip()
        return state, active, self.show(job) if job else "", now

    def _cancel(self, key: str) -> None:
        job = self._newest(key)
        if job:
            self.site.queue.cancel(job.name)


async def waited_for(site: Site, job: Job) -> None:
    """Return when the job is done; gr.Error where it comes to nothing. Cancels it where the program that waits has
    gone."""
    try:
        while job.state not in ENDED:
            await asyncio.sleep(TICK / 4)
    finally:
        site.queue.cancel(job.name)
    if job.state != DONE:
        raise gr.Error(job.message, print_exception=False)
