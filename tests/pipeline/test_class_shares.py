"""Runs that aim at shares of the classes, on networks and on frozen features, and leave foreign images out."""

import json

import numpy as np
import pyarrow.parquet as pq
import pytest

import noisystudent as ns
from noisystudent.data.sources.open import open_source
from noisystudent.errors import SettingsError
from noisystudent.pseudo_labels.neighbors import neighbor_graph, reduce_features
from noisystudent.pseudo_labels.predictions import list_parts, read_all, read_typicality
from small_backbone import save_backbone
from small_runs import DIGITS, SMALL, weights

KNOWN = 5  # digits from 0 to 4 have labels
TAIL = (1.0, 0.5, 0.3, 0.1, 0.05)

pytestmark = pytest.mark.usefixtures("feature_cache")


@pytest.fixture(scope="module")
def backbone(tmp_path_factory):
    return str(save_backbone(tmp_path_factory.mktemp("backbone") / "weights"))


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """Sources of digits: 12 labels of each known class, unlabeled images with a long tail, and the same with noise."""
    folder = tmp_path_factory.mktemp("images")
    records = list(open_source("digits:unlabeled", labeled=True).read(0))
    pixels, labels = np.stack([record.image for record in records]), np.array([record.label for record in records])
    random = np.random.default_rng(0)
    rows = [random.permutation(np.flatnonzero(labels == label)) for label in range(KNOWN)]  # neighbors have one writer
    classes = np.array([f"digit {label}" for label in range(KNOWN)])
    labeled, test = (np.concatenate([part[cut] for part in rows]) for cut in (slice(12), slice(12, 32)))
    tail = np.concatenate([part[32 : 32 + round(60 * share)] for part, share in zip(rows, TAIL, strict=True)])
    for name, part in (("labeled", labeled), ("test", test)):
        np.savez(folder / f"{name}.npz", x=pixels[part], y=labels[part], classes=classes)
    noise = random.integers(0, 256, (60, *pixels.shape[1:]), np.uint8)
    np.savez(folder / "tail.npz", x=pixels[tail])
    np.savez(folder / "foreign.npz", x=np.concatenate([pixels[tail], noise]))
    return folder


def sources(images, unlabeled="tail"):
    return {"labeled": f"{images}/labeled.npz", "unlabeled": f"{images}/{unlabeled}.npz", "test": f"{images}/test.npz"}


def run_heads(out, images, backbone, unlabeled="tail", **settings):
    own = {"model.backbone": backbone, "head.views": 0, "runtime.threads": 1, "data.near_duplicates": "none"}
    return ns.run(**sources(images, unlabeled), out=out, settings={**own, **settings}, quiet=True)


def content(path):
    return json.loads((path / "summary.json").read_text())


def test_heads_aim_at_the_estimated_shares_and_learn_from_corrected_predictions(tmp_path, images, backbone):
    aligned = {"selection.prior": "estimated", "selection.align": "prior"}
    done, plain = run_heads(tmp_path / "run", images, backbone, **aligned), run_heads(tmp_path / "p", images, backbone)
    found = content(done.path / "class-shares")
    true = np.array(TAIL) / sum(TAIL)
    shares = np.array(list(found["shares"].values()))
    assert found["p_value"] < 0.1
    assert np.abs(shares - true).sum() / 2 < 0.15
    assert [row["share"] for row in content(done.path / "round-1/selection")["per_class"]] == pytest.approx(shares)
    _, before = read_all(plain.path / "round-1/predictions", KNOWN)
    _, after = read_all(done.path / "round-1/predictions", KNOWN)
    expected = before / found["temperature"] + list(found["biases"].values()) + np.log(shares * KNOWN)
    expected -= np.log(np.exp(expected).sum(axis=1, keepdims=True))
    assert np.allclose(after, expected, atol=1e-4)
    assert weights(done.path / "teacher") == weights(plain.path / "teacher")
    again = run_heads(tmp_path / "run", images, backbone, **aligned)
    assert again.summary.student == done.summary.student
    assert not (plain.path / "class-shares").exists()


def test_a_given_prior_that_misses_a_class_is_one_clear_line(tmp_path, images, backbone):
    with pytest.raises(
        SettingsError, match=r"selection\.prior 'digit 0=1' misses the class 'digit 1'; give every class"
    ):
        run_heads(tmp_path / "run", images, backbone, **{"selection.prior": "digit 0=1"})


def test_heads_drop_images_that_are_far_from_all_labeled_ones(tmp_path, images, backbone):
    done = run_heads(tmp_path / "run", images, backbone, "foreign", **{"selection.foreign": "drop"})
    parts = list_parts(done.path / "round-1/selection")
    reasons = np.concatenate([pq.read_table(path)["reason"].to_pylist() for path in parts])
    is_noise = np.arange(len(reasons)) >= len(reasons) - 60
    assert (reasons[is_noise] == "foreign").mean() > 0.9
    assert (reasons[~is_noise] == "foreign").mean() < 0.2
    (part,) = list_parts(done.path / "round-1/predictions")
    assert read_typicality(part).max() <= 1
    assert "far from all labeled images" in (done.path / "report.html").read_text()
    selected = ns.select(
        predictions=done.path / "round-1/predictions",
        out=tmp_path / "selection",
        settings={"selection.foreign": "drop", "selection.fraction": 1.0},
    )
    assert selected.reasons["foreign"] == (reasons == "foreign").sum()


def test_a_logit_adjustment_of_equally_many_labels_leaves_a_head_as_it_is(tmp_path, images, backbone):
    plain = run_heads(tmp_path / "plain", images, backbone)
    adjusted = run_heads(tmp_path / "adjusted", images, backbone, **{"objective.logit_adjustment": 1.0})
    assert adjusted.summary.teacher.test.top1 == plain.summary.teacher.test.top1


def test_networks_drop_images_that_are_farther_from_labeled_ones_than_validation_images_are(tmp_path, images):
    settings = {**SMALL, "train.steps": 60, "rounds.count": 1, "rounds.controls": 0, "runtime.threads": 1}
    settings |= {"selection.foreign": "drop", "data.near_duplicates": "none"}
    given = sources(images, "foreign")
    given["validation"] = given.pop("test")
    done = ns.run(**given, out=tmp_path / "run", settings=settings, quiet=True)
    reasons = np.concatenate(
        [pq.read_table(path)["reason"].to_pylist() for path in list_parts(done.path / "round-1/selection")]
    )
    is_noise = np.arange(len(reasons)) >= len(reasons) - 60
    assert (reasons[is_noise] == "foreign").mean() > 0.9
    assert (reasons[~is_noise] == "foreign").mean() < 0.2
    cost = {stage.name: stage.images_predicted for stage in done.summary.cost.stages}
    planned = ns.plan(**given, out=tmp_path / "other", settings=settings, quiet=True)
    assert cost["round-1/predictions"] == 2 * len(reasons) + KNOWN * (12 + 20)
    assert [stage.images_predicted for stage in planned.stages if stage.name == "round-1/predictions"] == [
        cost["round-1/predictions"]
    ]


def test_networks_need_validation_images_to_find_foreign_ones(tmp_path, images):
    settings = {**SMALL, "model.backbone": "none", "selection.foreign": "drop"}
    with pytest.raises(SettingsError, match=r"selection\.foreign drop needs images of the classes .* --validation"):
        ns.run(**sources(images), out=tmp_path / "run", settings=settings, quiet=True)


def test_networks_estimate_shares_on_validation_labels_and_align(tmp_path, images):
    settings = {**SMALL, "train.steps": 60, "rounds.count": 1, "rounds.controls": 0, "runtime.threads": 1}
    settings["data.streaming"] = "always"
    aligned = {"selection.prior": "estimated", "selection.align": "prior", "objective.logit_adjustment": 1.0}
    given = {**sources(images), "validation": f"{images}/test.npz"}
    given["test"] = None
    done = ns.run(**given, out=tmp_path / "run", settings={**settings, **aligned}, quiet=True)
    found = content(done.path / "round-1/class-shares")
    assert sum(found["shares"].values()) == pytest.approx(1)
    (raw,) = list_parts(done.path / "round-1/teacher-predictions")
    _, before = read_all(raw.parent, KNOWN)
    _, after = read_all(done.path / "round-1/predictions", KNOWN)
    weights_of_classes = np.log(np.array(list(found["shares"].values())) * KNOWN)
    expected = before / found["temperature"] + list(found["biases"].values()) + weights_of_classes
    expected -= np.log(np.exp(expected).sum(axis=1, keepdims=True))
    assert np.allclose(after, before if found["p_value"] >= 0.1 else expected, atol=1e-4)
    kept = {**settings, "selection.prior": "estimated", "data.validation_fraction": 0.0}
    with pytest.raises(SettingsError, match="needs labels that the teacher did not see"):
        ns.run(**sources(images), out=tmp_path / "none", settings=kept, quiet=True)


def test_predictions_are_averaged_with_the_labels_of_neighbors(tmp_path, images):
    settings = {**SMALL, "train.steps": 60, "rounds.count": 1, "rounds.controls": 0, "runtime.threads": 1}
    settings |= {"selection.neighbors": "mean", "data.near_duplicates": "none"}
    done = ns.run(**sources(images), out=tmp_path / "run", settings=settings, quiet=True)
    _, own = read_all(done.path / "round-1/teacher-predictions", KNOWN)
    _, mean = read_all(done.path / "round-1/predictions", KNOWN)
    teacher = ns.load(done.path / "teacher")
    labels = np.load(images / "labeled.npz")["y"]
    features = np.concatenate([teacher.features(f"{images}/{part}.npz") for part in ("labeled", "tail")])
    scale = np.maximum(features.std(axis=0), 0.1 * np.median(features.std(axis=0)))
    points = reduce_features((features - features.mean(axis=0)) / scale)
    neighbors = neighbor_graph(points).spread(np.arange(len(labels)), labels, KNOWN)[len(labels) :]
    assert np.allclose(np.exp(mean), (np.exp(own) + neighbors) / 2, atol=2e-3)
    (stage,) = [stage for stage in done.summary.cost.stages if stage.name == "round-1/predictions"]
    assert stage.images_predicted == len(features)
    assert content(done.path / "round-1/predictions")["images"] == len(mean)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"data.streaming": "always"}, r"selection\.neighbors mean cannot be: .* in memory"),
        ({"selection.prior": "estimated"}, "neighbors mean changes the predictions"),
        ({"noise.teacher": True}, r"selection\.neighbors .* noise\.teacher false"),
        ({"rounds.count": 0, "online.method": "fixmatch"}, r"a rounds\.count above 0"),
    ],
)
def test_neighbors_are_refused_where_they_cannot_be(tmp_path, images, settings, message):
    given = {**SMALL, "rounds.count": 1, "selection.neighbors": "mean", **settings}
    with pytest.raises(SettingsError, match=message):
        ns.run(**sources(images), out=tmp_path / "run", settings=given, quiet=True)


def test_heads_have_neighbors_of_their_own(tmp_path, images, backbone):
    with pytest.raises(SettingsError, match=r"selection\.neighbors .* model\.tune all"):
        run_heads(tmp_path / "run", images, backbone, **{"model.tune": "head", "selection.neighbors": "mean"})


def test_select_takes_given_shares_and_no_estimated_ones(tmp_path, images, backbone):
    done = run_heads(tmp_path / "run", images, backbone)
    predictions = done.path / "round-1/predictions"
    even = {"selection.prior": "uniform", "selection.rule": "threshold", "selection.threshold": 0.0}
    summary = ns.select(predictions=predictions, out=tmp_path / "even", settings=even)
    copies = [row.copies for row in summary.per_class if row.predicted]
    assert max(copies) - min(copies) <= max(copies) // 2
    with pytest.raises(SettingsError, match=r"needs the labels of a run.*classes: digit 0, digit 1"):
        ns.select(predictions=predictions, out=tmp_path / "x", settings={"selection.prior": "estimated"})


def test_shares_are_those_of_the_digits_that_everyone_has(tmp_path, backbone):
    settings = {"model.backbone": backbone, "head.views": 0, "selection.prior": "labels", "runtime.threads": 1}
    done = ns.run(**DIGITS, out=tmp_path / "run", settings=settings, quiet=True)
    assert set(content(done.path / "class-shares")["shares"].values()) == {0.1}
