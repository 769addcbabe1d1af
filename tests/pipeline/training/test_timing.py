"""The timing that chooses the compute mode, and what a mode changes."""

import pytest
import torch

from noisystudent.errors import TrainingError
from noisystudent.pipeline.stages.autotune import fastest_within_tolerance, possible_modes
from noisystudent.runtime.device import autocast
from noisystudent.runtime.settings import RuntimeSettings
from noisystudent.training import timing
from noisystudent.training.timing import ComputeMode, time_modes
from training_setup import CPU, make_batches, make_classifier

FLOAT32_MODE, FLOAT16_MODE = ComputeMode("float32", True), ComputeMode("float16", True)


@pytest.mark.parametrize("precision", ["float32", "bfloat16", "float16"])
def test_forward_passes_compute_in_the_given_precision(precision):
    with autocast(CPU, precision):
        product = torch.ones(2, 2) @ torch.ones(2, 2)
    assert product.dtype == getattr(torch, precision)


def test_both_layouts_give_the_same_logits():
    classifier = make_classifier().eval()
    pixels = make_batches()(0).pixels
    last = classifier(pixels)
    weight = classifier.net.blocks[1].conv1.weight
    assert weight.is_contiguous(memory_format=torch.channels_last)
    classifier.lay_out(channels_last=False)
    assert weight.is_contiguous()
    torch.testing.assert_close(classifier(pixels), last, rtol=1e-4, atol=1e-5)


def test_auto_settings_give_all_modes_and_the_simplest_comes_first():
    assert possible_modes(RuntimeSettings()) == [FLOAT32_MODE]
    modes = possible_modes(RuntimeSettings(precision="auto", channels_last="auto"))
    assert len(modes) == len(set(modes)) == 6
    assert [modes[0], modes[1], modes[4]] == [FLOAT32_MODE, ComputeMode("float32", False), FLOAT16_MODE]


@pytest.mark.parametrize(("seconds", "fastest"), [(0.92, FLOAT32_MODE), (0.90, FLOAT16_MODE), (1.5, FLOAT32_MODE)])
def test_another_mode_is_chosen_only_for_a_clear_gain(seconds, fastest):
    assert fastest_within_tolerance({FLOAT32_MODE: 1.0, FLOAT16_MODE: seconds}) == fastest


def test_modes_are_timed_alternately_and_slow_or_unsupported_modes_are_dropped(monkeypatch):
    fast, slow, unsupported = ComputeMode("bfloat16", True), ComputeMode("float16", True), ComputeMode("float16", False)
    timed = []

    def step(classifier, mode, pixels, labels):
        timed.append(mode)
        if mode == unsupported:
            raise RuntimeError("not implemented for 'Half'")
        return {FLOAT32_MODE: 1.0, fast: 0.5, slow: 3.0}[mode] + 1 / len(timed)

    monkeypatch.setattr(timing, "_time_step", step)
    seconds = time_modes(make_classifier(), [FLOAT32_MODE, fast, slow, unsupported], 8)
    assert list(seconds) == [FLOAT32_MODE, fast, slow]
    assert timed[:4] == [FLOAT32_MODE, fast, slow, unsupported]
    assert [timed.count(mode) for mode in (FLOAT32_MODE, fast, slow, unsupported)] == [7, 7, 2, 1]
    assert fastest_within_tolerance(seconds) == fast
    with pytest.raises(TrainingError, match=r"tiny_resnet cannot .* on cpu in any .*: float16, channels first.*Half"):
        time_modes(make_classifier(), [unsupported], 8)


def test_this_machine_supports_every_mode():
    modes = possible_modes(RuntimeSettings(precision="auto", channels_last="auto"))
    seconds = time_modes(make_classifier(), modes, 8)
    assert list(seconds) == modes
    assert all(0 < value < 60 for value in seconds.values())
