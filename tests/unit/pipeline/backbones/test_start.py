"""What a backbone decides in a run, which models start from it, and what is refused beside it."""

from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file

from noisystudent.config import resolve
from noisystudent.errors import ModelError, SettingsError
from noisystudent.models.checkpoint import save_classifier
from noisystudent.models.classifier import create_classifier
from noisystudent.models.normalization import Normalization
from noisystudent.models.settings import plan_models
from noisystudent.pipeline.backbones.start import announce_size, announce_start, start_facts
from noisystudent.pipeline.build_context import build_context, describe_run
from noisystudent.pipeline.stages.train import new_classifier, train_inputs
from noisystudent.pipeline.stages.train_data import supervised_spec
from noisystudent.random_streams import stream_key
from published_models import RESNET, VIT, cached  # noqa: F401  (a fixture)
from said import Lines
from small_runs import DIGITS


def write_weights(folder, *, channels=3, size=12, seed=0):
    torch.manual_seed(seed)
    classifier = create_classifier("tiny_resnet", classes=tuple("abcd"), channels=channels, size=size)
    classifier.renormalize(Normalization((0.4,) * channels, (0.3,) * channels))
    save_classifier(classifier, folder)
    return classifier


def context_of(tmp_path, given=None, **weights):
    own = write_weights(tmp_path / "weights", **weights)
    values = {**DIGITS, "out": str(tmp_path / "run"), "model.backbone": str(tmp_path / "weights"), **(given or {})}
    lines = Lines()
    resolved = resolve(values)
    return build_context(resolved, lines), lines, own, resolved


def plans_of(context):
    return plan_models(context.settings.model, 1, context.splits.format.size)


def start_of(context, plan, stage):
    return new_classifier(context, plan, stream_key(0, stage), None)


def test_the_backbone_decides_size_channels_model_and_rate(tmp_path):
    context, lines, _, resolved = context_of(tmp_path)
    assert (context.splits.format.size, context.splits.format.channels) == (12, 3)
    assert (context.settings.model.teacher, context.settings.train.learning_rate) == ("tiny_resnet", 5e-4)
    said = "\n".join(lines.said)
    assert "weights of a tiny_resnet trained on images of 4 classes: a, b, c, d; if test images were among" in said
    assert "data.size is 12, the size of the images that the backbone was trained on" in said
    assert "gray images repeat their channel" in said
    facts = describe_run(resolved, context, ["noisystudent"])
    assert facts.start.architecture == "tiny_resnet"
    assert facts.start.fingerprint == context.backbone.fingerprint
    decided = [name for name, origin in facts.origins.items() if origin == f"model.backbone {tmp_path / 'weights'}"]
    assert sorted(decided) == ["data.channels", "data.size", "model.teacher", "train.learning_rate"]


@pytest.mark.parametrize(
    ("own", "origin", "told"),
    [
        (224, "model.backbone a", ["note: data.size is 224, the size of the images that the backbone was trained on"]),
        (518, "model.backbone a", ["note: data.size is 224, at which auto uses this backbone"]),
        (224, "budget of 15 min 0 s", []),
        (224, "arguments", []),
    ],
)
def test_the_size_is_told_where_the_backbone_decided_it(own, origin, told):
    settings, lines = SimpleNamespace(data=SimpleNamespace(size=224)), Lines()
    announce_size(settings, SimpleNamespace(name="a", size=own), {"data.size": origin}, lines)
    assert lines.said == told


def test_what_the_user_says_beats_the_backbone(tmp_path):
    given = {"data.size": 8, "data.channels": "rgb", "model.teacher": "tiny_resnet", "train.learning_rate": 0.01}
    context, lines, _, resolved = context_of(tmp_path, given)
    assert context.splits.format.size == 8
    assert context.settings.train.learning_rate == 0.01
    assert not any(line.startswith("note") for line in lines.said)
    assert describe_run(resolved, context, [])
    assert start_of(context, plans_of(context)[0], "teacher").size == 8


def test_teacher_student_and_control_start_alike_except_for_their_heads(tmp_path):
    context, _, own, _ = context_of(tmp_path)
    teacher, student = plans_of(context)
    started = [start_of(context, teacher, "teacher"), start_of(context, student, "round-1/student")]
    started.append(start_of(context, student, "control"))
    for classifier in started:
        assert classifier.normalization == own.normalization
        weights = classifier.net.state_dict()
        body = [name for name in weights if not name.startswith("classifier.")]
        assert len(body) == len(weights) - 2
        assert all(torch.equal(weights[name], own.net.state_dict()[name]) for name in body)
    assert not torch.equal(started[0].net.classifier.weight, started[2].net.classifier.weight)


def test_a_student_of_another_architecture_starts_from_scratch_and_that_is_said(tmp_path):
    context, lines, _, _ = context_of(tmp_path, {"model.students": "resnet_small_20", "rounds.count": 1})
    plans = plans_of(context)
    announce_start(context.backbone, plans, context.reporter)
    assert lines.said[-1].startswith("note: resnet_small_20 starts from scratch, because the backbone")
    assert start_of(context, plans[1], "round-1/student").normalization == Normalization.halves(3)


def test_published_weights_of_one_model_are_a_backbone(tmp_path, cached):  # noqa: F811
    values = {**DIGITS, "out": str(tmp_path / "run"), "data.size": 64, "model.teacher": RESNET}
    models = []
    for given in ({"model.pretrained": True}, {"model.backbone": f"timm:{RESNET}"}):
        context = build_context(resolve({**values, **given}), Lines())
        models.append(train_inputs(context, "teacher", plans_of(context)[0], supervised_spec(context), 0.0, None))
        assert start_facts(context.settings, context.backbone).weights == f"timm:{RESNET}"
    assert models[0] == models[1]
    assert models[0]["model"]["backbone"]


def test_every_model_starts_from_what_is_published_for_it(tmp_path, cached):  # noqa: F811
    given = {"data.size": 160, "model.teacher": RESNET, "model.students": [VIT], "model.pretrained": True}
    lines = Lines()
    values = {**DIGITS, "out": str(tmp_path / "run"), **given}
    context = build_context(resolve(values), lines)
    plans = plans_of(context)
    announce_start(context.backbone, plans, context.reporter)
    said = "\n".join(lines.said)
    assert f"backbone: timm:{RESNET}, the weights" in said
    assert f"backbone: timm:{VIT}, the weights" in said
    assert "from scratch" not in said
    for name, plan in zip((RESNET, VIT), plans, strict=True):
        published = load_file(cached / f"models--timm--{name}" / "snapshots" / "0123abc" / "model.safetensors")
        started = start_of(context, plan, "teacher").net.state_dict()
        body = {key: tensor for key, tensor in published.items() if not key.startswith(("head.", "fc."))}
        assert len(body) > 10
        assert all(torch.equal(started[key], tensor) for key, tensor in body.items())


def test_a_backbone_that_no_model_could_start_from_is_refused(tmp_path):
    context, _, _, _ = context_of(tmp_path, {"model.teacher": "resnet_small_20"})
    with pytest.raises(ModelError, match=r"is a tiny_resnet, and the models are resnet_small_20: none could start"):
        announce_start(context.backbone, plans_of(context), context.reporter)


def test_another_backbone_is_another_stage_and_none_leaves_the_inputs_as_they_were(tmp_path):
    def inputs(context):
        plan = plans_of(context)[0]
        return train_inputs(context, "teacher", plan, supervised_spec(context), 0.0, None)["model"]

    given = {"data.size": 12, "data.channels": "rgb", "model.teacher": "tiny_resnet"}
    first = inputs(context_of(tmp_path, given)[0])
    second = inputs(context_of(tmp_path, given, seed=1)[0])
    without = inputs(context_of(tmp_path, {**given, "model.backbone": "none"})[0])
    assert first.pop("backbone") != second.pop("backbone")
    assert first == second == without


def test_gray_images_stay_gray_with_a_gray_backbone(tmp_path):
    context, _, _, _ = context_of(tmp_path, channels=1)
    assert context.splits.format.channels == 1


def test_gray_asked_for_beside_a_color_backbone_is_refused(tmp_path):
    with pytest.raises(SettingsError, match=r"data\.channels is gray, and the backbone .* takes rgb images; leave"):
        context_of(tmp_path, {"data.channels": "gray"})


def test_color_asked_for_beside_a_gray_backbone_is_refused(tmp_path):
    with pytest.raises(SettingsError, match=r"data\.channels is rgb, and the backbone .* takes gray images"):
        context_of(tmp_path, {"data.channels": "rgb"}, channels=1)


def test_all_models_of_a_run_see_the_share_of_an_image_that_the_backbone_does(tmp_path):
    torch.manual_seed(0)
    classifier = create_classifier("tiny_resnet", classes=tuple("abcd"), channels=3, size=96)
    classifier.crop = 0.9
    save_classifier(classifier, tmp_path / "weights")
    values = {**DIGITS, "out": str(tmp_path / "run"), "model.backbone": str(tmp_path / "weights"), "data.size": 72}
    context = build_context(resolve({**values, "model.students": ["resnet_small_8"]}), Lines())
    assert context.splits.labeled.pixels.shape[2:] == (80, 80)
    for plan in plans_of(context):
        assert start_of(context, plan, "teacher").crop == 0.9
