"""Naturally shifted sets: the outputs of the classes, both variants of the scores, detection against scikit-learn."""

import json
from pathlib import Path

import numpy as np
import pytest
import timm.data
from PIL import Image
from sklearn.metrics import average_precision_score, roc_auc_score, roc_curve

from noisystudent.data.sources.folder import FolderSource
from noisystudent.errors import DataError
from noisystudent.evaluation.class_mapping import map_classes
from noisystudent.evaluation.natural.label_sets import label_sets_of, read_label_sets
from noisystudent.evaluation.natural.metrics import (
    confidences_within,
    difference_from_published,
    label_set_hits,
    label_set_scores,
    out_of_distribution_scores,
    rows_within,
    subset_hits,
    subset_scores,
)
from noisystudent.models.imagenet import imagenet_synsets

OUTPUTS = tuple(str(number) for number in range(1000))  # the classes of a checkpoint without class names


def timms(name: str) -> list[str]:
    """A list that timm includes, such as the 200 synsets of ImageNet-A."""
    return (Path(timm.data.__file__).parent / "_info" / name).read_text().split()


def evaluate(log_probabilities, labels, mapping):
    """The scores of a set from the log-probabilities of all its images."""
    return subset_scores(subset_hits(log_probabilities, labels, mapping), mapping)


def evaluate_label_sets(log_probabilities, sets, columns):
    return label_set_scores(label_set_hits(log_probabilities, sets, columns), log_probabilities.shape[1])


def detect(within, outside, mapping):
    return out_of_distribution_scores(*(confidences_within(rows, mapping) for rows in (within, outside)), mapping)


def folder_of(root: Path, names) -> FolderSource:
    for name in names:
        (root / name).mkdir(parents=True)
        Image.new("RGB", (4, 4)).save(root / name / "0.png")
    return FolderSource(root, labeled=True)


@pytest.mark.parametrize("name", ["a", "r"])
def test_a_set_that_differs_from_the_published_one_is_described(name):
    synsets = timms(f"imagenet_{name}_synsets.txt")
    assert difference_from_published(f"imagenet-{name}", sorted(synsets)) == ""
    difference = difference_from_published(f"imagenet-{name}", synsets[2:])
    assert f"has 200 classes, and this set has 198; missing: {synsets[0]}, {synsets[1]}." in difference
    other = next(synset for synset in imagenet_synsets() if synset not in synsets)
    assert f"and this set has 200; missing: {synsets[0]}; additional: {other}." in difference_from_published(
        f"imagenet-{name}", [other, *synsets[1:]]
    )
    assert " and 195 more; additional:" in difference_from_published(f"imagenet-{name}", [other])
    assert difference_from_published(f"imagenet-{name}", ["cat", "dog"]).startswith(
        f"The published imagenet-{name} has 200 classes, and this set has 2. "
    )


def test_other_sets_are_compared_by_their_number_of_classes():
    assert difference_from_published("imagenet-o", imagenet_synsets()[:200]) == ""
    assert "200 classes, and this set has 199." in difference_from_published("imagenet-o", imagenet_synsets()[:199])
    assert difference_from_published("imagenetv2", OUTPUTS) == ""
    assert "1000 classes, and this set has 999." in difference_from_published("imagenetv2", OUTPUTS[:999])
    assert difference_from_published("imagenet-sketch", imagenet_synsets()) == ""
    assert f"missing: {imagenet_synsets()[0]}." in difference_from_published("imagenet-sketch", imagenet_synsets()[1:])
    assert difference_from_published("holidays", ["cat", "dog"]) == ""


def test_hits_do_not_depend_on_batches(shifted):
    logits, labels, mapping = shifted
    whole = vars(subset_hits(logits, labels, mapping))
    parts = [
        vars(subset_hits(logits[rows], labels[rows], mapping)) for rows in (slice(0, 7), slice(7, 7), slice(7, 300))
    ]
    for name, values in whole.items():
        assert np.array_equal(np.concatenate([part[name] for part in parts]), values)


def test_numbered_folders_are_scored_as_numbers_and_not_as_text(tmp_path):
    source = folder_of(tmp_path, OUTPUTS)
    mapping = map_classes(source.classes, imagenet_synsets())
    # A model that predicts every class correctly has few hits if its outputs are in the order of text.
    records = [record for shard in range(len(source.shard_sizes)) for record in source.read(shard)]
    sure = np.eye(1000)[[int(record.key.split("/")[0]) for record in records]]
    labels = np.array([record.label for record in records])
    assert evaluate(10 * sure, labels, mapping)["top1_1000way"] == 1
    assert source.classes == OUTPUTS, "numbered folders are in the order of their numbers"
    as_text = {name: place for place, name in enumerate(sorted(OUTPUTS))}
    assert np.mean([as_text[str(number)] == number for number in sure.argmax(axis=1)]) < 0.05


@pytest.fixture
def shifted():
    """Random outputs for 300 images of ImageNet-A's classes; a class outside the set beats the true one."""
    random = np.random.default_rng(0)
    mapping = map_classes(sorted(timms("imagenet_a_synsets.txt")), OUTPUTS)
    labels = random.integers(0, 200, 300)
    logits = random.normal(size=(300, 1000))
    logits[np.arange(300), mapping.columns[labels]] = 8
    outsiders = np.setdiff1d(np.arange(1000), mapping.columns)
    logits[np.arange(300), random.choice(outsiders, 300)] = 9
    return logits, labels, mapping


def test_outputs_outside_the_set_are_ignored(shifted):
    scores = evaluate(*shifted)
    assert scores["top1_200way"] == 1
    assert scores["top1_1000way"] == 0
    assert scores["top5_1000way"] == 1
    assert set(scores) == {
        "top1_200way", "top5_200way", "rms_calibration_error_200way", "aurra_200way", "top1_1000way", "top5_1000way"
    }  # fmt: skip


def test_the_softmax_and_top5_are_within_the_set(shifted):
    logits, labels, mapping = shifted
    outsiders = np.setdiff1d(np.arange(1000), mapping.columns)
    louder = logits.copy()
    louder[:, outsiders] += 50
    before, after = evaluate(logits, labels, mapping), evaluate(louder, labels, mapping)
    assert after == {**before, "top5_1000way": 0.0}
    # Confidence is the softmax over the set: 8 against 199 others with mean e^(1/2).
    inside = np.exp(logits[:, mapping.columns])
    confidence = (inside / inside.sum(axis=1, keepdims=True)).max(axis=1)
    bins = np.sort(confidence).reshape(3, 100).mean(axis=1)
    assert before["rms_calibration_error_200way"] == pytest.approx(np.sqrt(np.mean((1 - bins) ** 2)))


def test_score_names_contain_the_number_of_classes():
    scores = evaluate(np.eye(4)[[0, 1, 2]], np.array([0, 1, 2]), map_classes(("a", "b", "c"), tuple("abcd")))
    assert {name for name in scores if name.startswith("top1")} == {"top1_3way", "top1_4way"}
    whole = evaluate(np.eye(2), np.array([0, 1]), map_classes(("b", "a"), ("a", "b")))
    assert {name for name in whole if name.startswith("top1")} == {"top1_2way"}
    assert whole["top1_2way"] == 0


def test_clean_images_of_the_same_classes_are_selected():
    mapping = map_classes(("d", "b"), tuple("abcd"))
    mask, labels = rows_within(np.array([0, 1, 3, 3, 2, 1]), mapping)
    assert mask.tolist() == [False, True, True, True, False, True]
    assert labels.tolist() == [1, 0, 0, 1]


def test_predictions_of_another_model_are_refused(shifted):
    logits, labels, mapping = shifted
    with pytest.raises(DataError, match="The predictions have 200 classes"):
        evaluate(logits[:, :200], labels, mapping)


@pytest.mark.parametrize("ties", [False, True])
def test_detection_matches_scikit_learn(ties):
    random = np.random.default_rng(2)
    mapping = map_classes([imagenet_synsets()[number] for number in range(5, 205)], imagenet_synsets())
    within, outside = random.normal(size=(500, 1000)), random.normal(size=(120, 1000))
    within[:, 10] += random.normal(3, 2, 500)
    if ties:
        within, outside = (np.repeat(rows[::4], 4, axis=0) for rows in (within, outside))
        within[:40] = outside[:40]
    inside = np.exp(np.concatenate([within, outside])[:, 5:205])
    confidence = (inside / inside.sum(axis=1, keepdims=True)).max(axis=1)
    unknown = np.arange(620) >= 500
    false_positives, recalls, _ = roc_curve(unknown, -confidence, drop_intermediate=False)
    scores = detect(within, outside, mapping)
    assert scores == {
        "aupr_200way": pytest.approx(average_precision_score(unknown, -confidence), abs=1e-12),
        "auroc_200way": pytest.approx(roc_auc_score(unknown, -confidence), abs=1e-12),
        "fpr95_200way": pytest.approx(false_positives[np.argmax(recalls >= 0.95)], abs=1e-12),
        "chance_aupr": pytest.approx(120 / 620),
    }


def test_detection_of_perfect_and_useless_confidence():
    mapping = map_classes(("a", "b"), ("a", "b"))
    sure, unsure = np.array([[9.0, 0.0]] * 6), np.zeros((4, 2))
    perfect = detect(sure, unsure, mapping)
    assert (perfect["aupr_2way"], perfect["auroc_2way"], perfect["fpr95_2way"]) == (1, 1, 0)
    blind = detect(sure, sure[:4], mapping)
    assert (blind["aupr_2way"], blind["auroc_2way"], blind["fpr95_2way"]) == (0.4, 0.5, 1)
    assert blind["chance_aupr"] == 0.4
    with pytest.raises(DataError, match="6 images of known classes and 0"):
        detect(sure, unsure[:0], mapping)


def test_any_label_of_the_set_counts_as_correct():
    logits = np.array([[5, 4, 3, 2, 1, 0, 0]] * 5, float)
    sets = [(0,), (3, 0), (4,), (6, 5), ()]
    scores = evaluate_label_sets(logits, sets, np.arange(7))
    assert scores == {"label_set_top1_7way": 0.5, "label_set_top5_7way": 0.75, "count": 4, "skipped": 1}
    # A model with its outputs in reverse order.
    assert evaluate_label_sets(logits[:, ::-1], sets, np.arange(7)[::-1]) == pytest.approx(scores)
    with pytest.raises(DataError, match="None of the 5 images"):
        evaluate_label_sets(logits, [()] * 5, np.arange(7))


def test_reassessed_labels_match_timm(tmp_path):
    file = Path(timm.data.__file__).parent / "_info" / "imagenet_real_labels.json"
    sets = read_label_sets(file)
    assert len(sets) == 50_000
    rows = np.arange(0, 50_000, 500)
    names = [f"ILSVRC2012_val_{row + 1:08d}.JPEG" for row in rows]
    logits = np.random.default_rng(3).normal(size=(len(rows), 1000))
    for row, number in enumerate(rows[::2]):
        if sets[number]:
            logits[2 * row, sets[number][-1]] = 9
    theirs = timm.data.RealLabelsImagenet([f"ILSVRC2012_val_{i + 1:08d}.JPEG" for i in range(50_000)])
    theirs.filenames = names
    import torch

    theirs.add_result(torch.from_numpy(logits))
    keys = [f"n0{row % 3}/{name}" for row, name in enumerate(names)]
    ours = evaluate_label_sets(logits, label_sets_of(keys, sets), np.arange(1000))
    assert 100 * ours["label_set_top1_1000way"] == pytest.approx(theirs.get_accuracy(1))
    assert 100 * ours["label_set_top5_1000way"] == pytest.approx(theirs.get_accuracy(5))
    assert ours["count"] == len(theirs.is_correct[1])
    assert ours["skipped"] == sum(not sets[number] for number in rows) > 0


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[[1], [2", "cannot be read"),
        ('{"a": [1]}', "is not a list of lists"),
        ("[[1], 2]", "is not a list of lists"),
        ("[[1], [1000]]", "1000 as a class of image 2"),
        ("[[true]]", "True as a class of image 1"),
    ],
)
def test_files_without_label_sets_are_refused(tmp_path, content, message):
    (tmp_path / "real.json").write_text(content)
    with pytest.raises(DataError, match=message):
        read_label_sets(tmp_path / "real.json")
    with pytest.raises(DataError, match="cannot be read"):
        read_label_sets(tmp_path / "none.json")


def test_images_without_a_number_are_refused(tmp_path):
    (tmp_path / "real.json").write_text(json.dumps([[1], [], [2, 3]]))
    sets = read_label_sets(tmp_path / "real.json")
    assert label_sets_of(["b/ILSVRC2012_val_00000003.JPEG", "ILSVRC2012_val_00000001.png"], sets) == [(2, 3), (1,)]
    for key in ("cat.jpg", "ILSVRC2012_val_00000000.JPEG", "ILSVRC2012_val_00000004.JPEG", "ILSVRC2012_val_1.JPEG"):
        with pytest.raises(DataError, match="no number from 1 to 3"):
            label_sets_of([key], sets)
