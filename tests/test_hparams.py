"""Values are overridden by name and type, and survive a checkpoint."""

import pytest

from hparams import HParams, hparams
from utils.errors import InputError


def test_overrides_change_a_copy_and_leave_the_global_values():
    changed = hparams.override("batch_size=4, width=0.5,save_optimizer_state=false")
    assert (changed.batch_size, changed.width, changed.save_optimizer_state) == (4, 0.5, False)
    assert (hparams.batch_size, hparams.width, hparams.save_optimizer_state) == (16, 1.0, True)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("batchsize=4", "batchsize=4: no such value, is it batch_size?"),
        ("batch_size", "write batch_size=VALUE"),
        ("batch_size=4.5", "whole number"),
        ("width=wide", "a number"),
        ("save_optimizer_state=1", "True or False"),
        ("batch_size=0", "above zero"),
        ("width=-1", "above zero"),
        ("width=nan", "above zero"),
        ("width=inf", "at most"),
        ("min_level_db=0", "at most"),
        ("n_fft=1", "win_size=800: is more than n_fft"),
        ("sample_rate=8000", "fmax=7600: is more than half"),
    ],
)
def test_unknown_names_wrong_types_and_impossible_values_are_refused(text, said):
    with pytest.raises(InputError, match=said):
        hparams.override(text)


def test_values_from_a_checkpoint_of_another_version_keep_what_is_known():
    saved = {**hparams.override("width=0.5").to_dict(), "of_a_later_version": 3}
    assert HParams.from_dict(saved) == hparams.override("width=0.5")
    assert HParams.from_dict(None) == hparams


def test_the_published_names_are_there():
    names = """num_mels n_fft hop_size win_size sample_rate preemphasis min_level_db ref_level_db fmin fmax
    max_abs_value img_size fps batch_size initial_learning_rate nepochs num_workers checkpoint_interval eval_interval
    save_optimizer_state syncnet_wt syncnet_batch_size syncnet_lr syncnet_eval_interval syncnet_checkpoint_interval
    disc_wt disc_initial_learning_rate"""
    assert all(hasattr(hparams, name) for name in names.split())


def test_derived_numbers_follow_their_sources():
    assert hparams.mel_columns_per_second == 80
    assert hparams.override("hop_size=100").mel_columns_per_second == 160
