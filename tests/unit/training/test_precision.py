"""Lower precisions: scaled losses that survive a kill, and the timing that chooses among ways of computing."""

import json
import math

import pytest
import torch

from noisystudent.errors import TrainingError
from noisystudent.losses.objectives import LossTerms
from noisystudent.pipeline.autotune import fastest_within_tolerance, possible_modes
from noisystudent.runtime.device import Engine, autocast
from noisystudent.runtime.settings import RuntimeSettings
from noisystudent.training import timing
from noisystudent.training.loop import METRICS, fit
from noisystudent.training.settings import TrainSettings
from noisystudent.training.state import STATE
from noisystudent.training.timing import ComputeMode, time_modes
from training_setup import CPU, Killed, make_batches, make_classifier, objective, same_weights

PLAIN, HALF = ComputeMode("float32", True), ComputeMode("float16", True)
FLOAT16 = Engine(CPU, "float16")


def large(logits, batch, factor=2000.0):
    """The usual loss times a factor that makes gradients overflow float16 until the scale has come down."""
    terms = objective(logits, batch)
    return LossTerms(terms.loss * factor, terms.named)


def train(folder, batches, objective=large, steps=45):
    folder.mkdir(exist_ok=True)
    settings = TrainSettings(steps=steps, save_every=1e-6)
    return fit(make_classifier(), batches, objective, settings, folder, seed=3, engine=FLOAT16)[0]


@pytest.mark.parametrize("precision", ["float32", "bfloat16", "float16"])
def test_forward_passes_compute_in_the_precision_that_is_named(precision):
    with autocast(CPU, precision):
        product = torch.ones(2, 2) @ torch.ones(2, 2)
    assert product.dtype == getattr(torch, precision)


def test_steps_whose_gradients_overflow_are_left_out_and_training_goes_on(tmp_path):
    trained = train(tmp_path, make_batches(), steps=60)
    rows = [json.loads(line) for line in (tmp_path / METRICS).read_text().splitlines()]
    assert 1 <= rows[0]["scale"] < 2.0**16  # where it begins
    assert rows[-1]["labeled"] < rows[0]["labeled"]
    batch = make_batches()(1000)
    assert (trained.eval()(batch.pixels).argmax(1) == batch.targets.argmax(1)).float().mean() == 1


def test_a_killed_training_goes_on_with_its_scale_to_the_same_bits(tmp_path):
    whole = train(tmp_path / "whole", make_batches())
    batches = make_batches()

    def dying(step):
        if step == 27:
            raise Killed
        return batches(step)

    with pytest.raises(Killed):
        train(tmp_path / "killed", dying)
    assert torch.load(tmp_path / "killed" / STATE, weights_only=True)["scaler"]["scale"] < 2.0**16
    assert same_weights(whole, train(tmp_path / "killed", batches))
    assert (tmp_path / "killed" / METRICS).read_text() == (tmp_path / "whole" / METRICS).read_text()


def test_gradients_that_overflow_at_every_scale_are_an_error_with_a_way_out(tmp_path):
    with pytest.raises(TrainingError, match=r"overflow float16 .* at step 19 .* 0\.0625.*bfloat16"):
        train(tmp_path, make_batches(), lambda logits, batch: large(logits, batch, 1e30))
    assert not (tmp_path / STATE).exists()


def test_a_loss_that_is_not_finite_is_an_error_in_float16_too(tmp_path):
    with pytest.raises(TrainingError, match="not finite at step 0"):
        train(tmp_path, make_batches(), lambda logits, batch: large(logits, batch, math.inf))


def test_both_layouts_give_the_same_logits():
    classifier = make_classifier().eval()
    pixels = make_batches()(0).pixels
    last = classifier(pixels)
    weight = classifier.net.blocks[1].conv1.weight
    assert weight.is_contiguous(memory_format=torch.channels_last)
    classifier.lay_out(channels_last=False)
    assert weight.is_contiguous()
    torch.testing.assert_close(classifier(pixels), last, rtol=1e-4, atol=1e-5)


def test_settings_leave_open_what_is_auto_and_the_plainest_comes_first():
    assert possible_modes(RuntimeSettings()) == [PLAIN]
    ways = possible_modes(RuntimeSettings(precision="auto", channels_last="auto"))
    assert len(ways) == len(set(ways)) == 6
    assert [ways[0], ways[1], ways[4]] == [PLAIN, ComputeMode("float32", False), HALF]


@pytest.mark.parametrize(("half", "chosen"), [(0.92, PLAIN), (0.90, HALF), (1.5, PLAIN)])
def test_another_way_is_taken_for_a_clear_gain_only(half, chosen):
    assert fastest_within_tolerance({PLAIN: 1.0, HALF: half}) == chosen


def test_ways_are_timed_in_turn_and_hopeless_or_impossible_ones_are_given_up(monkeypatch):
    quick, slow, impossible = ComputeMode("bfloat16", True), ComputeMode("float16", True), ComputeMode("float16", False)
    timed = []

    def step(classifier, way, pixels, labels):
        timed.append(way)
        if way == impossible:
            raise RuntimeError("not implemented for 'Half'")
        return {PLAIN: 1.0, quick: 0.5, slow: 3.0}[way] + 1 / len(timed)

    monkeypatch.setattr(timing, "_time_step", step)
    seconds = time_modes(make_classifier(), [PLAIN, quick, slow, impossible], 8)
    assert list(seconds) == [PLAIN, quick, slow]
    assert timed[:4] == [PLAIN, quick, slow, impossible]
    assert [timed.count(way) for way in (PLAIN, quick, slow, impossible)] == [7, 7, 2, 1]
    assert fastest_within_tolerance(seconds) == quick
    with pytest.raises(TrainingError, match=r"tiny_resnet .* none of these ways on cpu: float16, channels first.*Half"):
        time_modes(make_classifier(), [impossible], 8)


def test_this_machine_computes_in_every_way():
    ways = possible_modes(RuntimeSettings(precision="auto", channels_last="auto"))
    seconds = time_modes(make_classifier(), ways, 8)
    assert list(seconds) == ways
    assert all(0 < each < 60 for each in seconds.values())
