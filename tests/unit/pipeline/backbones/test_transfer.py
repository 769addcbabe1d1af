"""BiT's rule: what the number of labels decides, what the user keeps, and what is refused."""

from __future__ import annotations

import pytest

from noisystudent.config import resolve
from noisystudent.errors import SettingsError
from noisystudent.pipeline.backbones.transfer import decided_by_rule, require_upstream, with_transfer_length
from noisystudent.training.loop import learning_rate

GIVEN = {"labeled": "a", "out": "c", "recipe": "bit", "model.backbone": "efficientnet-lite0"}


def resolved(**values):
    return resolve({**GIVEN, **values}, command="train")


def after_rule(labels: int, **values):
    given = resolved(**values)
    return with_transfer_length(given.settings, given.explicit, labels)


# The released code's tables: supports of the schedule, and mixup from 20,000 labels on.
SUPPORTS = {
    1_000: [100, 200, 300, 400, 500],
    19_999: [100, 200, 300, 400, 500],
    20_000: [500, 3000, 6000, 9000, 10_000],
    499_999: [500, 3000, 6000, 9000, 10_000],
    500_000: [500, 6000, 12_000, 18_000, 20_000],
}


def published_rate(step: int, supports: list[int], base: float = 0.003) -> float:
    """The learning rate of the published schedule, from its description."""
    if step < supports[0]:
        return base * step / supports[0]
    for support in supports[1:]:
        if support < step:
            base /= 10
    return base


@pytest.mark.parametrize("labels", SUPPORTS)
def test_every_step_has_the_published_rate(labels):
    train, supports = after_rule(labels).train, SUPPORTS[labels]
    assert train.last == supports[-1]
    for step in range(0, train.last, 1 if labels < 20_000 else 7):
        assert learning_rate(step, train) == pytest.approx(published_rate(step, supports), rel=1e-12)


def test_the_golden_rates_of_a_small_data_set():
    train = after_rule(1_000).train
    golden = {0: 0.0, 50: 0.0015, 100: 0.003, 200: 0.003, 201: 3e-4, 301: 3e-5, 401: 3e-6}
    assert {step: learning_rate(step, train) for step in golden} == pytest.approx(golden)


def test_mixup_begins_at_20_000_labels():
    assert [after_rule(labels).noise.mixup for labels in (19_999, 20_000)] == [0.0, 0.1]


def test_what_the_user_gives_stays_and_the_rest_keeps_its_proportions():
    settings = after_rule(1_000, **{"train.steps": 50, "noise.mixup": 0.2})
    assert (settings.train.steps, settings.noise.mixup) == (50, 0.2)
    assert [learning_rate(step, settings.train) for step in (5, 10, 20, 21)] == pytest.approx(
        [0.0015, 0.003, 0.003, 3e-4]
    )
    by_epochs = after_rule(1_000, **{"train.epochs": 3.0})
    assert by_epochs.train.steps == resolved(**{"train.epochs": 3.0}).settings.train.steps


def test_what_the_rule_decided_has_its_origin():
    given = resolved(**{"train.steps": 50})
    used = with_transfer_length(given.settings, given.explicit, 30_000)
    assert decided_by_rule(given.settings, used, given.explicit, 30_000) == dict.fromkeys(
        ("train.drops", "noise.mixup"), "train.rule bit: 30,000 labels"
    )


def test_other_recipes_are_untouched():
    given = resolve({"labeled": "a", "out": "c"}, command="train")
    assert with_transfer_length(given.settings, given.explicit, 10) is given.settings
    assert decided_by_rule(given.settings, given.settings, given.explicit, 10) == {}


def test_the_recipe_is_the_published_optimizer():
    train = resolved().settings.train
    assert (train.optimizer, train.learning_rate, train.weight_decay) == ("momentum", 0.003, 0.0)
    assert (train.batch_size, train.clip, train.ema_decay, train.head_start) == (512, 0.0, 0.0, "zero")


def test_a_transfer_from_nothing_is_refused():
    scratch = resolve({"labeled": "a", "out": "c", "recipe": "bit"}, command="train").settings
    with pytest.raises(SettingsError, match=r"recipe bit transfers weights .* model.backbone is none. Give one"):
        require_upstream(scratch)
    require_upstream(resolved().settings)


def test_drops_must_increase():
    with pytest.raises(SettingsError, match=r"drops are \(0.6, 0.4\); give fractions that increase"):
        resolved(**{"train.drops": [0.6, 0.4]})
