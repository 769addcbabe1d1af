"""The settings of the resolution fix: published schedules, step by step, and refused values."""

import pytest

from noisystudent.config import resolve
from noisystudent.errors import SettingsError
from noisystudent.training.fix_settings import PRESETS, FixSettings
from noisystudent.training.loop import learning_rate


def test_the_published_schedule_drops_once_in_56_epochs():
    train = FixSettings(batch_size=64).training(640, 60.0)  # ten steps per epoch
    rates = [learning_rate(step, train) for step in range(train.steps)]
    assert rates == [pytest.approx(1e-3)] * 300 + [pytest.approx(1e-4)] * 260
    assert (train.optimizer, train.weight_decay, train.clip, train.ema_decay) == ("momentum", 1e-4, 0.0, 0.0)


def test_the_rate_follows_the_batch_and_the_drops_the_epochs():
    settings = FixSettings(batch_size=512, epochs=90.0, drop_every=30.0)
    train = settings.training(512, 60.0)
    assert [learning_rate(step, train) for step in (0, 29, 30, 59, 60, 89)] == pytest.approx(
        [8e-3, 8e-3, 8e-4, 8e-4, 8e-5, 8e-5]
    )
    assert FixSettings(drop_every=0.0).training(100, 60.0).drops == ()


def test_xie_takes_the_tail_of_the_staircase():
    settings = FixSettings(preset="paper:xie2020")
    assert settings.learning_rate == pytest.approx(0.128 / 2048 * 64 * 0.97**145, rel=0.01)
    assert settings.training(64 * 100, 60.0).steps == 150
    assert settings.last_blocks == 1


@pytest.mark.parametrize("preset", PRESETS)
def test_what_is_given_beside_a_preset_takes_precedence(preset):
    given = {"labeled": "a", "out": "b", "fix.preset": preset, "fix.epochs": 3}
    settings = resolve(given, command="fix").settings.fix
    assert settings.epochs == 3
    assert settings.learning_rate == PRESETS[preset]["learning_rate"]
    assert settings == FixSettings(size="auto", preset=preset, epochs=3.0)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"fix.trains": "half"}, r"trains is 'half'; give classifier, or last:N"),
        ({"fix.size": 4}, "fix.size"),
        ({"fix.epochs": 0}, "fix.epochs"),
        ({"fix.preset": "touvron"}, "fix.preset"),
        ({"fix.dropout": 0.5}, r"fix uses fix\.dropout only with fix\.trains last:N"),
        ({"fix.norm": "none", "fix.trains": "last:1"}, r"fix uses fix\.norm only with fix\.trains classifier"),
        ({"fix.trained_area": 0.5, "fix.size": 16}, r"fix uses fix\.trained_area only with fix\.size auto"),
        ({"train.steps": 3}, "fix does not use train.steps"),
    ],
)
def test_bad_settings_are_refused_with_one_line(settings, message):
    with pytest.raises(SettingsError, match=message) as caught:
        resolve({"labeled": "a", "out": "b", **settings}, command="fix")
    assert "\n" not in str(caught.value)


def test_in_a_run_they_need_a_size_and_networks():
    run = {"labeled": "a", "unlabeled": "b", "out": "c"}
    with pytest.raises(SettingsError, match=r"run uses fix\.epochs only with fix\.size"):
        resolve({**run, "fix.epochs": 3})
    head = {"model.backbone": "efficientnet-lite0", "model.tune": "head"}
    with pytest.raises(SettingsError, match=r"run uses fix\.size only with model\.tune all, last:N or lora"):
        resolve({**run, **head, "fix.size": "auto"})
