"""Which windows and frames a step draws: epochs, people, shares of processes, and that runs go on in the middle."""

import itertools
from collections import Counter

import numpy as np
import pytest

import audio
from conftest import NARROW
from data.dataset import ExpertWindows
from data.sampling import Key, PersonSampler, ShuffleSampler, StepPlan, StepSampler, parse_weights
from utils.errors import InputError


def steps(plan: StepPlan, count: int, *where, windows: int = 50) -> list[list[Key]]:
    return list(
        itertools.islice(StepSampler(plan, ShuffleSampler(windows, 1), ShuffleSampler(windows, 2), *where), count)
    )


def test_an_epoch_is_every_window_once_in_another_order_each_time():
    keys = [key for step in steps(StepPlan(10), 15) for key in step]
    assert [key.sample_index for key in keys] == list(range(150))
    epochs = [[key.window for key in keys[50 * e : 50 * (e + 1)]] for e in range(3)]
    assert all(sorted(epoch) == list(range(50)) for epoch in epochs)
    assert epochs[0] != epochs[1] != epochs[2]


@pytest.mark.parametrize("plan", [StepPlan(8), StepPlan(8, frames=4, frames_first=5), StepPlan(4, frames=12)])
def test_a_run_resumes_at_any_step_and_processes_and_parts_share_each_step_evenly(plan):
    whole = steps(plan, 12)
    assert steps(plan, 5, 7) == whole[7:]
    indices = [key.sample_index for step in whole for key in step]
    assert len(set(indices)) == len(indices)
    shares = [steps(plan, 24, 0, 2, rank, 2) for rank in range(2)]
    for step, keys in enumerate(whole):
        parts = [share[2 * step + part] for part in range(2) for share in shares]
        assert Counter(key for part in parts for key in part) == Counter(keys)
        assert len({tuple(sorted(Counter(key.frames for key in part).items())) for part in parts}) == 1


def test_the_first_steps_have_single_frames_alone_and_later_ones_windows_before_frames():
    plan = StepPlan(2, frames=3, frames_first=4)
    for number, keys in enumerate(steps(plan, 6)):
        frames = [key.frames for key in keys]
        assert frames == ([1] * 13 if number < 4 else [5, 5, 1, 1, 1])  # 13 frames in every step


def test_people_count_evenly_however_many_clips_they_have_or_as_their_weights_say():
    persons, counts = ["anna"] * 4 + ["ben"], [10, 10, 10, 70, 100]
    drawn = Counter(number // 10 for number in map(PersonSampler(persons, counts, {}, 0), range(4000)))
    of_anna = [sum(drawn[k] for k in part) for part in ([0], [1], [2], range(3, 10))]
    assert sum(of_anna) == pytest.approx(2000, rel=0.1)
    assert all(count == pytest.approx(500, rel=0.2) for count in of_anna)  # her clips count evenly, too
    heavy = map(PersonSampler(persons, counts, {"ben": 3.0}, 0), range(4000))
    assert sum(number >= 100 for number in heavy) == pytest.approx(3000, rel=0.1)


@pytest.mark.parametrize("text", ["anna", "carl:2", "anna:0"])
def test_weights_of_people_that_make_no_sense_are_refused(text):
    assert parse_weights("anna:1.6  ben:0.5", ["anna", "ben"]) == {"anna": 1.6, "ben": 0.5}
    with pytest.raises(InputError, match="people_weights"):
        parse_weights(text, ["anna", "ben"])


class RampClip:
    """A clip whose faces get brighter to the right, so that a mirrored one is seen, and whose sound names its place."""

    def __init__(self, person: str) -> None:
        self.person = person
        self.times = np.arange(60)
        self.faces = np.broadcast_to(np.linspace(40, 200, 96).astype(np.uint8)[:, None], (60, 96, 96, 3))

    def window_rows(self, hp, per_frame_mels):
        return np.arange(1, 49)

    def mel_window(self, start, hp):
        return np.full((1, 80, 16), start, np.float32)


def test_label_mirror_and_sound_do_not_depend_on_the_person():
    people, hp = 6, NARROW.override("sampling=people")
    windows = ExpertWindows([RampClip(name) for name in "abcdef"[:people]], hp, training=True)
    keys = [
        step[0]
        for step in itertools.islice(StepSampler(windows.plan(1), windows.index_sampler(0), ShuffleSampler(1, 1)), 1500)
    ]
    rows = []
    for key in keys:
        item = windows[key]
        own = audio.window_mel_start(key.window % 48 + 1)
        assert (item["mel"].mean() == own) == bool(item["in_sync"][0])
        mirrored = item["faces"][0, 0, :, 4, 0].mean() > item["faces"][0, 0, :, -4, 0].mean()
        rows.append((key.window // 48, item["in_sync"][0], mirrored, item["mel"].mean() / audio.window_mel_start(48)))
    person, *others = np.array(rows).T
    for values in others:
        means = [values[person == number].mean() for number in range(people)]
        assert np.ptp(means) < 0.17  # 250 draws each: a standard deviation of 0.032 for a label
