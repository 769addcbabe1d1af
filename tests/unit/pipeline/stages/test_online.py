"""How many images of each view a step of an online student has, its noise, and what it cannot be combined with."""

import pytest
import torch

from noisystudent.config import resolve
from noisystudent.errors import SettingsError
from noisystudent.losses.settings import OnlineSettings
from noisystudent.models.settings import plan_models
from noisystudent.noise.settings import NoiseSettings
from noisystudent.pipeline.backbones.tune import decide_tune
from noisystudent.pipeline.budget.outline import Outline
from noisystudent.pipeline.controls import teacher_is_control
from noisystudent.pipeline.extensions import NO_EXTENSIONS
from noisystudent.pipeline.stages.online import weak_noise
from noisystudent.pipeline.stages.online_checks import check_online, images_behind, online_batch, students_of
from noisystudent.run_settings import RunSettings
from noisystudent.runtime.progress import Reporter
from noisystudent.training.settings import TrainSettings

FIXMATCH, MEAN_TEACHER = OnlineSettings(method="fixmatch"), OnlineSettings(method="mean_teacher")


def settings_of(**given: object) -> RunSettings:
    values = {name.replace("__", "."): value for name, value in given.items()}
    return resolve({"labeled": "a", "unlabeled": "b", "out": "c", **values}).settings


@pytest.mark.parametrize(
    ("batch_size", "ratio", "online", "expected"),
    [
        (128, 3.0, FIXMATCH, {"labeled": 18, "weak": 55, "strong": 55}),
        (960, 7.0, FIXMATCH, {"labeled": 64, "weak": 448, "strong": 448}),
        (3, 100.0, FIXMATCH, {"labeled": 1, "weak": 1, "strong": 1}),
        (128, 1e-3, FIXMATCH, {"labeled": 126, "weak": 1, "strong": 1}),
        (128, 1.0, MEAN_TEACHER, {"labeled": 64, "strong": 64}),
        (128, 3.0, MEAN_TEACHER, {"labeled": 32, "strong": 96}),
    ],
)
def test_a_step_has_the_batch_size_in_all(batch_size, ratio, online, expected):
    batch = online_batch(TrainSettings(batch_size=batch_size, ratio=ratio), online)
    assert batch == expected
    assert sum(batch.values()) == batch_size


@pytest.mark.parametrize(
    ("online", "expected"),
    [(FIXMATCH, {"labeled": 64, "weak": 448, "strong": 448}), (MEAN_TEACHER, {"labeled": 64, "strong": 448})],
)
def test_with_labeled_batches_the_unlabeled_images_come_on_top_as_published(online, expected):
    assert online_batch(TrainSettings(batch="labeled", batch_size=64, ratio=7), online) == expected


def test_the_weights_of_an_online_student_go_through_the_stages_before_it():
    alone = settings_of(rounds__count=0, online__method="fixmatch", train__batch_size=128)
    after = settings_of(rounds__count=2, online__method="fixmatch", train__batch_size=128, train__warm_start=True)

    assert images_behind(alone) == 128
    assert images_behind(after) == 128 * (1 + 2 + 1)


def test_weak_views_are_shifted_and_flipped_alone():
    noise = weak_noise(NoiseSettings(flip=True, hole=4, erasing=0.5, crop="resized"))
    assert (noise.crop, noise.flip, noise.randaugment, noise.hole, noise.erasing) == ("pad", True, False, 0, 0.0)
    assert weak_noise(NoiseSettings(crop="none")).crop == "none"


@pytest.mark.parametrize(
    ("given", "controlled"),
    [
        ({"recipe": "online"}, True),
        ({"recipe": "online", "train__warm_start": True}, False),
        ({"rounds__count": 2, "online__method": "fixmatch"}, False),
        ({"rounds__count": 2}, True),
    ],
)
def test_the_teacher_is_a_control_where_the_last_student_starts_from_scratch(given, controlled):
    settings = settings_of(**given)
    plans = plan_models(settings.model, students_of(settings), 16)
    assert teacher_is_control(settings, plans, students_of(settings)) is controlled


def test_a_budget_counts_the_online_student_as_a_stage():
    assert Outline(settings_of(recipe="online"), frozenset(), 0).stages == 2 * 2
    assert Outline(settings_of(online__method="fixmatch"), frozenset(), 1).stages == 3 * 2


def test_an_online_student_learns_unsmoothed_labels_unless_the_user_says_otherwise():
    resolved = resolve({"labeled": "a", "unlabeled": "b", "out": "c", "online.method": "fixmatch"})
    assert resolved.settings.objective.label_smoothing == 0
    assert resolved.origins["objective.label_smoothing"] == "online.method fixmatch"
    assert settings_of(online__method="fixmatch", objective__label_smoothing=0.02).objective.label_smoothing == 0.02
    assert settings_of(online__method="none").objective.label_smoothing == 0.1


def test_a_backbone_is_trained_whole_where_a_run_ends_with_an_online_student():
    for recipe, expected in (("online", "all"), ("curriculum", "head")):
        settings = settings_of(recipe=recipe, model__backbone="efficientnet-lite0")
        decided = decide_tune(settings, {"model.backbone"}, NO_EXTENSIONS, torch.device("cpu"), Reporter(quiet=True))
        assert decided.model.tune == expected


def test_frozen_heads_and_sharded_averages_are_refused():
    heads = settings_of(recipe="online", model__backbone="efficientnet-lite0", model__tune="head")
    with pytest.raises(SettingsError, match=r"online\.method fixmatch trains a network, and model\.tune head"):
        check_online(heads, NO_EXTENSIONS)
    sharded = {"runtime__sharded": True, "runtime__precision": "float32", "runtime__channels_last": True}
    check_online(settings_of(recipe="online", online__teacher="student", **sharded), NO_EXTENSIONS)
    with pytest.raises(SettingsError, match=r"fixmatch asks the averaged weights.*online\.teacher student"):
        check_online(settings_of(recipe="online", **sharded), NO_EXTENSIONS)
