"""What of a backbone `run`, `train` and `distill` train: its last blocks, by rates per block, with its statistics."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

import noisystudent as ns
from noisystudent.data.images import ImageFormat, decode_shard
from noisystudent.data.sources.open import open_source
from noisystudent.errors import ModelError, SettingsError
from noisystudent.models.checkpoint import save_classifier
from noisystudent.models.classifier import create_classifier
from noisystudent.pipeline.features.cross_fit import PENALTIES
from small_runs import DIGITS, SMALL, without

SETTINGS = {
    **without(SMALL, "model.teacher", "rounds.count"), "train.steps": 3, "runtime.threads": 1,
    "runtime.precision": "float32", "runtime.channels_last": True, "noise.strength": 0.25,
}  # fmt: skip
LABELED = {"labeled": "digits:labeled"}


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    folder = tmp_path_factory.mktemp("weights") / "tiny"
    torch.manual_seed(0)
    save_classifier(create_classifier("tiny_resnet", classes=tuple("abcd"), channels=1, size=8), folder)
    return folder


def given(weights, **settings):
    return {**SETTINGS, "model.backbone": str(weights), **settings}


def run(out, weights, **settings):
    return ns.run(**DIGITS, out=out, settings=given(weights, **{"rounds.count": 1, **settings}), quiet=True)


def train(out, weights, **settings):
    return ns.train(**LABELED, out=out, settings=given(weights, **settings), quiet=True).folder


def moved(folder, weights):
    """The blocks whose tensors differ from those of the backbone; the last layer always does."""
    found, start = load_file(folder / "model.safetensors"), load_file(weights / "model.safetensors")
    names = [name for name in start if name.startswith("blocks.")]
    return {name[:8] for name in names if not torch.equal(found[name], start[name])}


def inputs_of(folder):
    return json.loads((folder / "inputs.json").read_text())


def test_the_last_blocks_of_teacher_student_and_control_are_trained(tmp_path, weights):
    made = run(tmp_path / "run", weights, **{"model.tune": "last:1"})
    for stage in ("teacher", "round-1/student", "control"):
        assert moved(made.path / stage, weights) == {"blocks.2"}, stage
        assert inputs_of(made.path / stage)["model"]["tune"] == "last:1"
    all_blocks = run(tmp_path / "run", weights, **{"model.tune": "all"})
    assert moved(all_blocks.path / "teacher", weights) == {"blocks.0", "blocks.1", "blocks.2"}


def test_a_warm_student_keeps_the_frozen_blocks_too(tmp_path, weights):
    made = run(tmp_path / "run", weights, **{"model.tune": "last:2", "train.warm_start": True})
    assert moved(made.path / "round-1/student", weights) == {"blocks.1", "blocks.2"}


def test_train_and_distill_train_the_last_blocks(tmp_path, weights):
    teacher = train(tmp_path / "teacher", weights, **{"model.tune": "last:1"})
    assert moved(teacher, weights) == {"blocks.2"}
    made = ns.distill(
        **LABELED, out=tmp_path / "distilled", teacher=teacher, student="auto",
        settings=given(weights, **{"model.tune": "last:2", "data.size": 8}), quiet=True,
    )  # fmt: skip
    assert moved(made.path / "student-1", weights) == {"blocks.1", "blocks.2"}


def test_adapters_are_trained_in_every_stage_and_become_weights(tmp_path, weights):
    pytest.importorskip("peft", reason="adapters need peft: pip install 'noisystudent[lora]'")
    made = run(tmp_path / "run", weights, **{"model.tune": "lora:1", "train.warm_start": True})
    start, teacher = load_file(weights / "model.safetensors"), load_file(made.path / "teacher" / "model.safetensors")
    assert teacher.keys() == start.keys()
    for stage in ("teacher", "round-1/student", "control"):
        assert moved(made.path / stage, weights) == {"blocks.0", "blocks.1", "blocks.2"}
        assert inputs_of(made.path / stage)["model"]["tune"] == "lora:1"
    before = (made.path / "best" / "model.safetensors").read_bytes()
    again = run(tmp_path / "run", weights, **{"model.tune": "lora:1", "train.warm_start": True})
    assert (again.path / "best" / "model.safetensors").read_bytes() == before


def test_a_single_model_is_trained_whole_by_default(tmp_path, weights):
    folder = ns.train(
        **LABELED, out=tmp_path / "model", settings={"model.backbone": str(weights), "runtime.threads": 1,
        "train.steps": 3, "noise.strength": 0.25}, quiet=True,
    ).folder  # fmt: skip
    assert moved(folder, weights) == {"blocks.0", "blocks.1", "blocks.2"}
    assert inputs_of(folder)["objective"]["label_smoothing"] > 0  # heads would have decided otherwise


@pytest.mark.parametrize(
    ("tune", "error", "message"),
    [
        ("head", SettingsError, r"model\.tune head is for run"),
        ("last:3", ModelError, r"model\.tune last:3 would train the whole network, which has 3 blocks"),
        ("last:0", SettingsError, r"model\.tune .*last:0.*head or last:N.*at least 1"),
        ("lora:0", SettingsError, r"model\.tune .*lora:0.*lora:R, adapters of rank R, at least 1"),
    ],
)
def test_what_cannot_be_trained_is_one_line(tmp_path, weights, tune, error, message):
    with pytest.raises(error, match=message):
        train(tmp_path / "model", weights, **{"model.tune": tune})


def statistics(folder):
    tensors = load_file(folder / "model.safetensors")
    return {name: values for name, values in tensors.items() if "running" in name}


def test_beside_a_backbone_statistics_are_frozen_and_rates_fall_by_depth_unless_a_model_starts_from_scratch(
    tmp_path, weights
):
    made = run(tmp_path / "run", weights, **{"model.students": ["wrn_16_2"]})
    start, found = statistics(weights), statistics(made.path / "teacher")
    assert start
    assert all(torch.equal(found[name], start[name]) for name in start)
    assert {"batch_norm": "frozen", "layer_decay": 0.85}.items() <= inputs_of(made.path / "teacher")["train"].items()
    student = statistics(made.path / "round-1/student")
    assert any(values.std() > 0 for name, values in student.items() if name.endswith("running_mean"))
    assert inputs_of(made.path / "round-1/student")["train"].keys().isdisjoint({"batch_norm", "layer_decay"})


def test_what_is_given_beside_a_backbone_is_used(tmp_path, weights):
    folder = train(tmp_path / "model", weights, **{"train.batch_norm": "batch", "train.layer_decay": 1.0})
    start, found = statistics(weights), statistics(folder)
    assert not any(torch.equal(found[name], start[name]) for name in start)
    assert inputs_of(folder)["train"].keys().isdisjoint({"batch_norm", "layer_decay"})


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


def answers(folder):
    """The answers for the labeled digits, their labels and their features."""
    model = ns.load(folder)
    digits = decode_shard(open_source("digits:labeled", labeled=True), 0, ImageFormat(8, 1))
    return model.log_probabilities(digits), digits.labels, model.features(digits)


STILL = {
    "train.learning_rate": 1e-12, "train.weight_decay": 0.0, "train.head_start": "fitted",
    "train.batch_norm": "frozen", "data.validation_fraction": 0.0,
}  # fmt: skip


def test_a_fitted_last_layer_is_scikit_learns_regression_on_frozen_features(tmp_path, weights, cache):
    folder = train(tmp_path / "model", weights, **STILL)
    assert inputs_of(folder)["model"]["head"] == "fitted"
    found, labels, features = answers(folder)
    scaled = StandardScaler().fit_transform(features)
    differences = []
    for penalty in PENALTIES:
        regression = LogisticRegression(C=1 / (penalty * len(labels)), max_iter=2000).fit(scaled, labels)
        differences.append(np.abs(regression.predict_proba(scaled) - np.exp(found)).max())
    assert min(differences) < 0.01
    assert (found.argmax(1) == labels).mean() > 0.9
    assert [*cache.rglob("*.safetensors")]


def test_students_and_control_start_with_a_fitted_last_layer_and_folds_see_their_own_labels(tmp_path, weights, cache):
    settings = {**STILL, "noise.strength": "auto", "noise.strengths": [0.25, 0.5]}
    made = run(tmp_path / "run", weights, **settings)
    heads = {stage: head_of(made.path / stage) for stage in ("teacher", "round-1/student", "control")}
    assert all(torch.allclose(head, heads["teacher"], atol=1e-6) for head in heads.values())
    folds = [head_of(made.path / f"strength/0.25-fold-{number}") for number in (1, 2)]
    assert not torch.allclose(folds[0], folds[1], atol=1e-3)
    assert not torch.allclose(folds[0], heads["teacher"], atol=1e-3)
    assert (
        "head"
        not in inputs_of(run(tmp_path / "run", weights, **{**settings, "train.head_start": "random"}).path / "teacher")[
            "model"
        ]
    )


def head_of(folder):
    return load_file(folder / "model.safetensors")["classifier.weight"]


def test_a_distillation_without_labels_draws_the_last_layer(tmp_path, weights, cache):
    teacher = train(tmp_path / "teacher", weights)
    made = ns.distill(
        unlabeled="digits:unlabeled", out=tmp_path / "distilled", teacher=teacher, student="auto",
        settings=given(weights, **{"train.head_start": "fitted", "data.size": 8, "distillation.hard_weight": 0.0}),
        quiet=True,
    )  # fmt: skip
    assert "head" not in inputs_of(made.path / "student-1")["model"]
