"""The shipped configs: what those of the published models resolve to, against the numbers of the paper."""

from pathlib import Path

import pytest

from noisystudent.config import resolve
from noisystudent.models.settings import plan_models
from noisystudent.noise.policies import POLICIES
from noisystudent.training.loop import STAIRCASE_DECAYS, learning_rate
from project_scripts import load_script

ROOT = Path(__file__).parents[2]
CONFIGS = ROOT / "configs"
IMAGENET, PILE = 1_281_167, 130_000_000

# Xie et al. 2020 and the release: epochs, pseudo-labeled images per labeled one, passes over 130 million images, and
# RandAugment's magnitude (None: no RandAugment), dropout, image size.
PUBLISHED = {
    "b0": (700, [1], [6.9], None, 0.2, 224),
    "b1": (700, [3], [20.7], None, 0.2, 240),
    "b2": (700, [3], [20.7], 6, 0.3, 260),
    "b3": (700, [3], [20.7], 12, 0.3, 300),
    "b4": (700, [3], [20.7], 15, 0.4, 380),
    "b5": (350, [3], [10.3], 18, 0.4, 456),
    "b6": (350, [3], [10.3], 24, 0.5, 528),
    "b7": (350, [3], [10.3], 27, 0.5, 600),
    "l2": (350, [3, 14, 14, 28], [10.3, 48, 48, 97], 27, 0.5, 475),
}


def settings_of(name: str, *, command: str = "run", **sources):
    given = {"labeled": "L", "out": "o", **({"unlabeled": "U"} if command == "run" else {}), **sources}
    return resolve(given, CONFIGS / "paper" / f"{name}.yaml", command=command)


def generator():
    return load_script("paper_configs")


def test_the_files_are_what_the_table_generates():
    files = dict(generator().files())
    assert files == {path.name: path.read_text() for path in (CONFIGS / "paper").iterdir()}


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.yaml")), ids=lambda path: path.name)
def test_every_other_config_resolves(path):
    assert resolve({"labeled": "L", "unlabeled": "U", "out": "o"}, path).settings.out == "o"


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_config_trains_as_published(name):
    epochs, ratios, passes, magnitude, dropout, size = PUBLISHED[name]
    resolved = settings_of(name)
    settings = resolved.settings
    train = settings.train.with_epochs(IMAGENET)
    counts = [train.student_counts(number) for number in range(1, settings.rounds.count + 1)]
    assert {labeled for labeled, _ in counts} == {2048}
    assert train.steps * 2048 / IMAGENET == pytest.approx(epochs, rel=1e-5)
    assert [pseudo / labeled for labeled, pseudo in counts] == ratios
    assert [train.steps * pseudo / PILE for _, pseudo in counts] == pytest.approx(passes, rel=0.01)

    train = train.with_rate(2048)
    warm = round(train.warmup * train.steps)
    assert warm * 2048 / IMAGENET == pytest.approx(5, rel=0.001)
    assert learning_rate(warm, train) == pytest.approx(0.128)
    decay_every = (train.steps - warm) / STAIRCASE_DECAYS * 2048 / IMAGENET
    assert decay_every == pytest.approx(2.4 if epochs == 350 else 4.8, rel=0.02)
    assert learning_rate(train.steps - 1, train) == pytest.approx(0.128 * 0.97**145)
    assert (train.optimizer, train.weight_decay, train.ema_decay, train.clip) == ("rmsproptf", 1e-5, 0.9999, 0)

    noise = settings.noise
    assert (noise.randaugment, noise.flip, noise.crop, noise.resized_area) == (
        magnitude is not None,
        True,
        "resized",
        0.08,
    )
    if magnitude is not None:
        assert (noise.policy, noise.layers, noise.magnitude, noise.pixel_reference) == ("released", 2, magnitude, 0)
    assert (noise.strength, noise.dropout, noise.stochastic_depth) == (1, dropout, 0.2)
    plans = plan_models(settings.model, settings.rounds.count, settings.data.size)
    assert plans[-1].name == f"tf_efficientnet_{name}"
    assert (plans[-1].size, plans[-1].dropout) == (size, dropout)
    assert settings.model.batch_norm_momentum == 0.01
    selection = settings.selection
    assert (selection.rule, selection.lowest, selection.per_class, selection.once) == ("threshold", 0.3, 130_000, True)
    assert selection.max_copies >= 13_000  # of ten images of a class
    assert (settings.objective.labels, settings.objective.temperature, settings.objective.label_smoothing) == (
        "soft",
        1,
        0.1,
    )
    assert settings.objective.weighting == "ratio"
    assert not resolved.over_family - {"noise.dropout", "noise.stochastic_depth"}


def test_l2_is_taught_by_a_better_b7_and_then_by_itself():
    settings = settings_of("l2").settings
    names = [plan.name for plan in plan_models(settings.model, settings.rounds.count, settings.data.size)]
    assert names == [f"tf_efficientnet_{member}" for member in ("b7", "b7", "l2", "l2", "l2")]


def test_the_last_step_of_l2_is_one_and_a_half_epochs_at_the_last_rate():
    settings = settings_of("l2-fine-tune", command="train").settings
    train = settings.train.with_epochs(IMAGENET).with_rate(2048)
    assert train.last * 2048 / IMAGENET == pytest.approx(1.5, rel=0.001)
    rates = [learning_rate(step, train) for step in range(train.last)]
    assert rates == pytest.approx([0.128 * 0.97**145] * train.last, rel=1e-5)
    assert (settings.data.size, settings.noise.strength, settings.noise.crop, settings.noise.flip) == (
        800,
        0,
        "none",
        False,
    )
    assert (settings.noise.dropout, settings.noise.stochastic_depth) == (0.5, 0.2)


def test_svhn_trains_as_released():
    settings = settings_of("svhn").settings
    train = settings.train.with_epochs(69_257)
    assert train.steps == pytest.approx(109_474, abs=5)
    assert train.student_counts(1) == (128, 640)
    assert train.steps * 640 / 531_131 == pytest.approx(132, rel=0.005)  # passes over the unlabeled images
    assert train.with_rate(128).learning_rate == pytest.approx(0.008)
    assert train.weight_decay == 1e-4
    noise = settings.noise
    assert (noise.magnitude, noise.hole, noise.translation, noise.cutout, noise.flip) == (5, 16, 4, 4, False)
    assert noise.crop_last
    assert noise.policy in POLICIES
    assert plan_models(settings.model, 1, settings.data.size)[1].name == "efficientnet_small_b0"
    assert (settings.selection.per_class, settings.selection.lowest) == (53_113, 0.3)
