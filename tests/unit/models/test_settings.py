"""The plan of models: their names, resolutions and noise."""

import subprocess
import sys

import pytest
import timm
from pydantic import ValidationError

from noisystudent.models import create  # noqa: F401  (registers the families for small images)
from noisystudent.models.settings import (
    FAMILIES,
    ModelPlan,
    ModelSettings,
    choose_model,
    plan_models,
    plan_student,
    plan_teacher,
)

# Official efficientnet_params: resolution and dropout; L2's training resolution is the paper's.
OFFICIAL = {
    "b0": (224, 0.2),
    "b1": (240, 0.2),
    "b2": (260, 0.3),
    "b3": (300, 0.3),
    "b4": (380, 0.4),
    "b5": (456, 0.4),
    "b6": (528, 0.5),
    "b7": (600, 0.5),
    "l2": (475, 0.5),
}


def names(settings: ModelSettings, rounds: int, size: int) -> list[str]:
    return [plan.name for plan in plan_models(settings, rounds, size)]


@pytest.mark.parametrize(
    ("size", "name"),
    [
        (8, "tiny_resnet"),
        (16, "tiny_resnet"),
        (17, "resnet_small_20"),
        (64, "resnet_small_20"),
        (65, "efficientnet_b0"),
    ],
)
def test_auto_chooses_by_size_a_model_that_exists(size, name):
    assert choose_model(size) == name
    assert timm.is_model(name)


def test_students_default_to_the_teachers_model():
    assert names(ModelSettings(teacher="wrn_28_2"), 3, 32) == ["wrn_28_2"] * 4
    assert names(ModelSettings(), 1, 8) == ["tiny_resnet"] * 2


def test_the_last_student_repeats_and_extra_ones_are_ignored():
    settings = ModelSettings(teacher="auto", students=("wrn_16_2", "wrn_28_2"))
    assert names(settings, 4, 32) == ["resnet_small_20", "wrn_16_2", "wrn_28_2", "wrn_28_2", "wrn_28_2"]
    assert names(settings, 1, 32) == ["resnet_small_20", "wrn_16_2"]
    assert names(settings, 0, 32) == ["resnet_small_20"]


def test_teacher_and_first_student_have_plans_of_their_own():
    settings = ModelSettings(teacher="auto", students=("wrn_16_2", "wrn_28_2"))
    assert plan_teacher(settings, 32).name == "resnet_small_20"
    assert plan_student(settings, 32).name == "wrn_16_2"


def test_a_family_grows_with_the_papers_resolution_dropout_and_depth():
    plans = plan_models(ModelSettings(family="efficientnet:b0, b2,l2"), 3, 224)
    assert plans == [
        ModelPlan("tf_efficientnet_b0", 224, 0.2, 0.2),
        ModelPlan("tf_efficientnet_b2", 260, 0.3, 0.2),
        ModelPlan("tf_efficientnet_l2", 475, 0.5, 0.2),
        ModelPlan("tf_efficientnet_l2", 475, 0.5, 0.2),
    ]


def test_a_family_keeps_the_size_of_small_images():
    plans = plan_models(ModelSettings(family="efficientnet:b0,b1"), 1, 32)
    assert plans == [
        ModelPlan("efficientnet_small_b0", None, 0.2, 0.2),
        ModelPlan("efficientnet_small_b1", None, 0.2, 0.2),
    ]


def test_the_efficientnet_table_is_the_official_one_and_every_member_exists():
    members = FAMILIES["efficientnet"]
    assert {variant: (member.size, member.dropout) for variant, member in members.items()} == OFFICIAL
    assert all(timm.is_model(member.large) and timm.is_model(member.small) for member in members.values())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"family": "eficientnet:b0"}, "Did you mean 'efficientnet'"),
        ({"family": "efficientnet:b0,b9"}, "'b9' is not a member.*Known: b0, b1"),
        ({"family": "efficientnet"}, "lists no members"),
        ({"family": "efficientnet:b0", "students": ("wrn_28_2",)}, "wrn_28_2.*or family"),
        ({"family": "efficientnet:b0", "teacher": "wrn_28_2"}, "wrn_28_2.*or family"),
        ({"teacher": ""}, "name is empty"),
        ({"students": ("",)}, "name is empty"),
        ({"student": "wrn_28_2"}, "student"),
    ],
)
def test_errors_of_settings_name_what_is_allowed(settings, message):
    with pytest.raises(ValidationError, match=f"(?s){message}"):
        ModelSettings(**settings)


def test_settings_import_no_torch():
    check = "import sys, noisystudent.models.settings; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", check]).returncode == 0


@pytest.mark.parametrize(
    ("backbone", "given"),
    [
        ("efficientnet-lite0", {}),
        ("timm:resnet18", {"teacher": "resnet34"}),
        ("timm:resnet18.a1_in1k", {"teacher": "resnet18"}),
        ("timm:resnet18", {"family": "efficientnet:b0"}),
    ],
)
def test_two_ways_to_start_are_refused(backbone, given):
    ModelSettings(backbone=backbone, **given)
    with pytest.raises(ValidationError, match=rf"backbone is '{backbone}' and pretrained true.*give one of the two"):
        ModelSettings(backbone=backbone, pretrained=True, **given)


@pytest.mark.parametrize(
    ("backbone", "given"),
    [
        ("timm:resnet18", {}),
        ("timm:resnet18", {"teacher": "resnet18", "students": ("resnet34",)}),
        ("timm:tf_efficientnet_b0", {"family": "efficientnet:b0,b1"}),
    ],
)
def test_two_ways_to_start_that_mean_the_same_are_taken(backbone, given):
    assert ModelSettings(backbone=backbone, pretrained=True, **given).pretrained
    assert ModelSettings(backbone="timm:resnet18", teacher="resnet18", pretrained=True).pretrained
    assert ModelSettings(pretrained=True).backbone == ModelSettings(backbone="none").backbone == "none"


def test_an_empty_backbone_is_refused():
    with pytest.raises(ValidationError, match="backbone is empty; give none, a name, a folder or a file"):
        ModelSettings(backbone="")
