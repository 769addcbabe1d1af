"""A setting without effect beside the others is refused where the user gives it, and only there."""

import pytest

from noisystudent.conditions import CONDITIONS
from noisystudent.config import ALL_SETTINGS, USED, resolve, section_settings
from noisystudent.errors import SettingsError
from noisystudent.noise.settings import NoiseSettings

BASE = {"labeled": "a", "unlabeled": "b", "out": "c"}
TEACHER = {"unlabeled": None}  # of train: a teacher learns from labels alone


def check(command, *given, file=None):
    if "out" in USED[command]:
        return resolve([*given], file, command=command).settings
    return section_settings(NoiseSettings, "noise", list(given), command=command)


def base_of(command):
    if "out" not in USED[command]:
        return {}
    return {"labeled": "a", "out": "c"} if command == "train" else BASE


WITHOUT_EFFECT = [
    # command, what has no effect, beside what, and what gives it an effect
    ("robustness", {"evaluation.corruptions": ["fog"]}, {"evaluation.suite": ["attacks"]},
     {"evaluation.suite": ["corruptions"]}),
    ("robustness", {"evaluation.severities": [1]}, {"evaluation.suite": ["clean"]},
     {"evaluation.suite": ["corruptions"]}),
    ("compare", {"evaluation.difficulty": 2}, {"evaluation.suite": ["corruptions"]},
     {"evaluation.suite": ["perturbations"]}),
    ("run", {"evaluation.epsilons": [1.0]}, {"evaluation.suite": ["corruptions"]}, {"evaluation.suite": ["attacks"]}),
    ("run", {"evaluation.seed": 3}, {"evaluation.suite": ["clean"]}, {"evaluation.suite": ["perturbations"]}),
    ("robustness", {"evaluation.seed": 3}, {"evaluation.suite": ["corruptions"], "evaluation.corruptions_dir": "c"},
     {"evaluation.suite": ["corruptions", "perturbations"], "evaluation.corruptions_dir": "c"}),
    ("robustness", {"evaluation.strengths_for": 64},
     {"evaluation.suite": ["perturbations"], "evaluation.perturbations_dir": "p"},
     {"evaluation.suite": ["perturbations"]}),
    ("robustness", {"evaluation.frost_textures": "f"},
     {"evaluation.suite": ["corruptions"], "evaluation.corruptions_dir": "c"}, {"evaluation.suite": ["corruptions"]}),
    ("run", {"selection.per_class": 5}, {}, {"selection.rule": "threshold"}),
    ("select", {"selection.per_class": 5}, {}, {"selection.rule": "threshold"}),
    ("distill", {"data.unlabeled_share": 0.5}, {"unlabeled": None}, {"unlabeled": "b"}),
    ("select", {"selection.fraction": 0.5}, {"selection.rule": "threshold"}, {"selection.rule": "curriculum"}),
    ("select", {"selection.max_copies": 3}, {"selection.rule": "threshold", "selection.per_class": "none"},
     {"selection.rule": "threshold"}),
    ("run", {"selection.once": True}, {"rounds.count": 1}, {"rounds.count": 2}),
    ("run", {"model.students": ["a", "b"]}, {"rounds.count": 1}, {"rounds.count": 2}),
    ("run", {"model.family": "efficientnet:b0,b1,b2"}, {"rounds.count": 1}, {"rounds.count": 2}),
    ("train", {"model.students": ["a"]}, {}, {"unlabeled": "b"}),
    ("train", {"train.ratio": 2.0}, {}, {"unlabeled": "b"}),
    ("train", {"objective.labels": "hard"}, {}, {"unlabeled": "b"}),
    ("train", {"data.window": 5}, {}, {"unlabeled": "b"}),
    ("run", {"train.layer_decay": 0.8}, {}, {"train.warm_start": True}),
    ("run", {"train.batch_norm": "frozen"}, {}, {"model.backbone": "efficientnet-lite0"}),
    ("train", {"train.batch_norm": "frozen"}, {}, {"model.pretrained": True}),
    ("run", {"model.pretrained": True}, {"model.backbone": "none"}, {}),
    ("distill", {"model.pretrained": True}, {"model.backbone": "auto"}, {"model.backbone": "timm:resnet18"}),
    ("train", {"train.head_start": "fitted"}, {}, {"model.backbone": "efficientnet-lite0"}),
    ("train", {"train.rule": "bit"}, {}, {"model.backbone": "efficientnet-lite0"}),
    ("train", {"train.drops": [0.5]}, {}, {"train.schedule": "steps"}),
    ("train", {"data.crop": 0.9}, {"data.resize": "squash"}, {"data.resize": "aspect"}),
    ("train", {"noise.mixing": "step"}, {}, {"noise.mixup": 0.1}),
    ("distill", {"train.layer_decay": 0.8}, {"distillation.students": ["auto"]},
     {"distillation.students": ["./mine"]}),
    ("run", {"data.window": 5}, {"data.streaming": "never"}, {"data.streaming": "always"}),
    ("run", {"objective.temperature": 0.5}, {"objective.labels": "hard"}, {"objective.labels": "soft"}),
    ("run", {"objective.weighting": "sum"}, {"distillation.method": "kd"}, {"distillation.method": "none"}),
    ("run", {"objective.logit_adjustment": 1.0}, {"distillation.method": "kd"}, {"distillation.method": "none"}),
    ("run", {"selection.prior": "uniform"}, {"selection.rule": "threshold", "selection.per_class": "none"},
     {"selection.rule": "threshold"}),
    ("run", {"selection.foreign": "drop"}, {"noise.teacher": True}, {"noise.teacher": False}),
    ("run", {"selection.foreign": "drop"}, {"rounds.count": 0, "online.method": "fixmatch"}, {"rounds.count": 1}),
    ("run", {"distillation.dkd_alpha": 2.0}, {"distillation.method": "kd"}, {"distillation.method": "dkd"}),
    ("distill", {"distillation.dist_beta": 2.0}, {}, {"distillation.method": "dist"}),
    ("distill", {"distillation.tempering": "softmax"}, {}, {"distillation.method": "virtual_teacher"}),
    ("distill", {"distillation.temperature": 2.0}, {"distillation.method": "hard"}, {"distillation.method": "kd"}),
    ("distill", {"distillation.scale_by_t_squared": False}, {"distillation.method": "confidence_penalty"},
     {"distillation.method": "kd"}),
    ("distill", {"distillation.teacher_logits": "cached"}, {"distillation.method": "virtual_teacher"}, {}),
    ("distill", {"distillation.cache": "x"}, {}, {"distillation.teacher_logits": "cached_views"}),
    ("distill", {"distillation.mean": "geometric"}, {"distillation.teachers": ["a"]},
     {"distillation.teachers": ["a", "b"]}),
    ("distill", {"distillation.hard_weight": 0.5}, {"labeled": ""}, {"labeled": "a"}),
    ("distill", {"train.ratio": 2.0}, {"unlabeled": None}, {"unlabeled": "b"}),
    ("train", {"train.batch": "labeled"}, {}, {"unlabeled": "b"}),
    ("train", {"train.drops": [0.5]}, {}, {"train.schedule": "steps"}),
    ("run", {"fix.epochs": 3.0}, {}, {"fix.size": 64}),
    ("run", {"fix.norm": "none"}, {"fix.size": 64, "fix.trains": "last:1"}, {"fix.size": 64}),
    ("run", {"fix.dropout": 0.5}, {"fix.size": 64}, {"fix.size": 64, "fix.trains": "last:1"}),
    ("run", {"fix.stochastic_depth": 0.5}, {"fix.size": 64}, {"fix.size": 64, "fix.trains": "last:1"}),
    ("run", {"fix.trained_area": 0.5}, {"fix.size": 64}, {"fix.size": "auto"}),
    ("distill", {"train.batch": "labeled"}, {"unlabeled": None}, {"unlabeled": "b"}),
    ("run", {"train.epochs": 2.0}, {}, {"train.batch": "labeled"}),
    ("train", {"train.epochs": 2.0}, {"unlabeled": "b"}, {"unlabeled": None}),
    ("distill", {"train.epochs": 2.0}, {"labeled": ""}, {"train.batch": "labeled"}),
    ("distill", {"train.rate_per_256": True}, {"labeled": ""}, {"labeled": "a"}),
    ("run", {"rounds.control": "both"}, {}, {"train.batch": "labeled"}),
    ("run", {"rounds.control": "steps"}, {"train.batch": "labeled", "train.warm_start": True},
     {"train.batch": "labeled"}),
    ("run", {"rounds.control": "steps"}, {"train.batch": "labeled", "rounds.controls": 0},
     {"train.batch": "labeled"}),
    ("run", {"data.validation_fraction": 0.5}, {"validation": "v"}, {}),
    ("run", {"data.few_labels": 5}, {"test": "t"}, {}),
    ("run", {"data.few_labels_beside_test": 5}, {}, {"test": "t"}),
    ("run", {"train.evaluate_every": 5}, {"data.validation_fraction": 0.0}, {"validation": "v"}),
    ("run", {"noise.strengths": [0.5]}, {"noise.strength": 0.25}, {"noise.strength": "auto"}),
    ("run", {"noise.magnitude": 5.0}, {"noise.randaugment": False}, {}),
    ("run", {"noise.magnitude": 5.0}, {"noise.strength": 0.0}, {"noise.strength": 1.0}),
    ("run", {"noise.cutout": 20}, {"noise.strength": 0.0}, {"noise.strength": 1.0}),
    ("run", {"noise.crop": "resized"}, {"noise.strength": 0.0}, {"noise.strength": 1.0}),
    ("run", {"noise.layers": 5}, {"noise.preset": "none"}, {"noise.preset": "timm"}),
    ("label", {"noise.pad": 0.3}, {"noise.teacher": True, "noise.crop": "none"}, {"noise.teacher": True}),
    ("show-noise", {"noise.resized_area": 0.3}, {"noise.crop": "pad"}, {"noise.crop": "resized"}),
    ("show-noise", {"noise.translation": 3.0}, {"noise.policy": "timm"}, {"noise.policy": "paper"}),
    ("run", {"online.threshold": 0.8}, {}, {"online.method": "fixmatch"}),
    ("run", {"online.threshold": 0.99}, {}, {"recipe": "online"}),
    ("train", {"online.threshold": 0.8}, {}, {"unlabeled": "b", "online.method": "flexmatch"}),
    ("run", {"online.threshold": 0.8}, {"online.method": "freematch"}, {"online.method": "flexmatch"}),
    ("run", {"online.threshold_warmup": False}, {"online.method": "fixmatch"}, {"online.method": "flexmatch"}),
    ("run", {"online.labels": "soft"}, {"online.method": "mean_teacher"}, {"online.method": "fixmatch"}),
    ("run", {"online.temperature": 0.7}, {"online.method": "fixmatch"},
     {"online.method": "fixmatch", "online.labels": "soft"}),
    ("run", {"online.alignment": "uniform"}, {"online.method": "freematch"}, {"online.method": "fixmatch"}),
    ("run", {"online.momentum": 0.9}, {"online.method": "fixmatch"},
     {"online.method": "fixmatch", "online.alignment": "labeled"}),
    ("run", {"online.deviations": 3.0}, {"online.method": "fixmatch"}, {"online.method": "softmatch"}),
    ("run", {"online.fairness": 0.1}, {"online.method": "softmatch"}, {"online.method": "freematch"}),
    ("run", {"online.ramp": 0.1}, {"online.method": "fixmatch"}, {"online.method": "mean_teacher"}),
    ("train", {"online.method": "fixmatch"}, {}, {"unlabeled": "b"}),
    ("train", {"objective.labels": "hard"}, {"unlabeled": "b", "online.method": "fixmatch"}, {"unlabeled": "b"}),
    ("run", {"distillation.method": "kd"}, {"online.method": "fixmatch"}, {}),
    ("run", {"noise.cutmix": 1.0}, {"online.method": "fixmatch"}, {}),
    ("run", {"selection.once": True}, {"rounds.count": 0, "online.method": "fixmatch"}, {"rounds.count": 2}),
    ("run", {"head.views": 2}, {"model.backbone": "efficientnet-lite0", "online.method": "fixmatch"},
     {"model.backbone": "efficientnet-lite0"}),
    ("run", {"model.students": ["a", "b"]}, {"rounds.count": 1}, {"rounds.count": 1, "online.method": "fixmatch"}),
    ("run", {"noise.cutout": 3.0}, {"noise.operations": ["Rotate"]}, {"noise.operations": ["Cutout"]}),
    ("train", {"noise.unlabeled.dropout": 0.0}, {}, {"unlabeled": "b"}),
    ("run", {"noise.unlabeled.dropout": 0.0}, {"rounds.count": 0, "online.method": "fixmatch"}, {}),
    ("train", {"noise.unlabeled.dropout": 0.0}, {"unlabeled": "b", "online.method": "fixmatch"}, {"unlabeled": "b"}),
    ("run", {"objective.logit_adjustment": 1.0}, {"online.method": "fixmatch"}, {}),
    ("run", {"rounds.joint": False}, {"distillation.method": "kd"}, {}),
    ("run", {"rounds.teachers": ["last:2"]}, {"distillation.method": "kd"}, {}),
    ("run", {"rounds.teachers": ["all"]}, {"rounds.count": 1}, {"rounds.count": 2}),
    ("run", {"objective.weighting": "sum"}, {"rounds.joint": False}, {}),
    ("distill", {"noise.unlabeled.flip": True}, {"unlabeled": None}, {"unlabeled": "b"}),
    ("run", {"noise.unlabeled.magnitude": 5.0}, {"noise.unlabeled.strength": 0.0}, {"noise.unlabeled.strength": 1.0}),
    ("run", {"noise.unlabeled.magnitude": 5.0}, {"noise.unlabeled.randaugment": False}, {}),
    ("run", {"noise.unlabeled.dropout": 0.0}, {"model.backbone": "efficientnet-lite0", "model.tune": "head"},
     {"model.tune": "all", "model.backbone": "efficientnet-lite0"}),
    ("run", {"noise.crop_last": True}, {}, {"noise.crop": "pad"}),
    ("run", {"model.batch_norm_momentum": 0.01}, {"train.batch_norm": "frozen", "train.warm_start": True}, {}),
    ("train", {"model.batch_norm_momentum": 0.01}, {"model.pretrained": True},
     {"model.pretrained": True, "train.batch_norm": "batch"}),
    ("run", {"train.batch": "labeled"}, {"model.backbone": "efficientnet-lite0", "model.tune": "head"},
     {"model.tune": "all", "model.backbone": "efficientnet-lite0"}),
    ("run", {"pretraining.epochs": 5.0}, {}, {"pretraining.method": "simclr"}),
    ("run", {"pretraining.preset": "repo:simclr"}, {}, {"pretraining.method": "simclr"}),
    ("run", {"pretraining.method": "simclr"}, {"model.backbone": "efficientnet-lite0"}, {}),
    ("run", {"pretraining.method": "simclr"}, {"model.pretrained": True}, {}),
    ("run", {"train.layer_decay": 0.8}, {}, {"pretraining.method": "simclr"}),
    ("run", {"train.head_start": "fitted"}, {}, {"pretraining.method": "simclr"}),
    ("run", {"model.tune": "last:2"}, {}, {"pretraining.method": "simclr"}),
    ("pretrain", {"data.window": 5}, {"data.streaming": "never"}, {"data.streaming": "always"}),
    ("pretrain", {"data.validation_fraction": 0.5}, {"labeled": ""}, {}),
    ("pretrain", {"data.validation_fraction": 0.5}, {"validation": "v"}, {}),
    ("pretrain", {"data.few_labels": 5}, {"test": "t"}, {}),
    ("pretrain", {"data.few_labels_beside_test": 5}, {}, {"test": "t"}),
    ("pretrain", {"data.unlabeled_share": 0.5}, {"unlabeled": None}, {"unlabeled": "b"}),
]  # fmt: skip


@pytest.mark.parametrize(("command", "given", "without", "with_effect"), WITHOUT_EFFECT)
def test_a_setting_without_effect_is_refused_with_what_it_needs(command, given, without, with_effect):
    sources = base_of(command)
    overridden = {**sources, **{name: value for name, value in without.items() if name in sources}}
    others = {name: value for name, value in without.items() if name not in sources}
    with pytest.raises(SettingsError, match=r" only with .*Give that as well, or leave it out\.") as caught:
        check(command, overridden, others, given)
    assert next(iter(given)) in str(caught.value)
    check(command, {**sources, **with_effect}, given)
    check(command, overridden, others)
    default = {name: ALL_SETTINGS[name].default for name in given}
    check(command, overridden, others, default)


def test_what_is_given_above_a_file_may_take_the_effect_of_its_settings(tmp_path):
    file = tmp_path / "run.yaml"
    file.write_text("noise: {magnitude: 5}\nselection: {rule: threshold, threshold: 0.5}\n")
    assert not resolve({**BASE, "noise.randaugment": False, "selection.rule": "curriculum"}, file).notes
    file.write_text("noise: {magnitude: 5, randaugment: false}\n")
    with pytest.raises(SettingsError, match=r"noise\.magnitude only with"):
        resolve(BASE, file)
    assert resolve({**BASE, "noise.randaugment": True}, file).settings.noise.magnitude == 5


def test_conditions_name_settings_that_their_commands_use():
    for condition in CONDITIONS:
        for name in (*condition.names, *condition.switches):
            known = [setting for setting in ALL_SETTINGS if setting == name or (name[-1] == "." and name in setting)]
            assert known, name
            assert any(set(known) & USED[command] for command in condition.commands), name


def test_what_only_unlabeled_images_use_is_not_without_effect():
    on_unlabeled = {"noise.strength": 0.0, "noise.unlabeled.strength": 1.0, "noise.magnitude": 5.0}
    assert check("run", BASE, on_unlabeled).noise.of_unlabeled().magnitude == 5
    crops = {"noise.crop": "none", "noise.unlabeled.crop": "pad", "noise.pad": 0.25, "noise.crop_last": True}
    assert check("run", BASE, crops).noise.of_unlabeled().crop == "pad"
    distorted = {"noise.randaugment": False, "noise.unlabeled.randaugment": True, "noise.layers": 3}
    assert check("run", BASE, distorted).noise.of_unlabeled().randaugment
