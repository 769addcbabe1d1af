"""Naturally shifted sets: the right outputs for each folder, in either variant; detection as scikit-learn has it."""

import json
from pathlib import Path

import numpy as np
import pytest
import timm.data
from PIL import Image
from sklearn.metrics import average_precision_score, roc_auc_score, roc_curve

from noisystudent.data.sources.folder import FolderSource
from noisystudent.errors import DataError
from noisystudent.evaluation.natural.label_sets import label_sets_of, read_label_sets
from noisystudent.evaluation.natural.metrics import (
    confidences_within,
    difference_from_published,
    label_set_hits,
    label_set_scores,
    map_classes,
    out_of_distribution_scores,
    rows_within,
    subset_hits,
    subset_scores,
)
from noisystudent.models.imagenet import imagenet_synsets

OUTPUTS = tuple(str(number) for number in range(1000))  # what a checkpoint of 1,000 classes without names has


def timms(name: str) -> list[str]:
    """A list that timm carries, such as the 200 synsets of ImageNet-A."""
    return (Path(timm.data.__file__).parent / "_info" / name).read_text().split()


def eval_result(log_probabilities, labels, found):
    """The scores of a set from the log-probabilities of all of its images."""
    return subset_scores(subset_hits(log_probabilities, labels, found), found)


def label_set_scored(log_probabilities, sets, columns):
    return label_set_scores(label_set_hits(log_probabilities, sets, columns), log_probabilities.shape[1])


def told_apart(within, outside, found):
    return out_of_distribution_scores(*(confidences_within(rows, found) for rows in (within, outside)), found)


def folder_of(root: Path, names) -> FolderSource:
    for name in names:
        (root / name).mkdir(parents=True)
        Image.new("RGB", (4, 4)).save(root / name / "0.png")
    return FolderSource(root, labeled=True)


@pytest.mark.parametrize("name", ["a", "r"])
def test_folders_of_synsets_are_found_where_timm_has_them(tmp_path, name):
    synsets = timms(f"imagenet_{name}_synsets.txt")
    source = folder_of(tmp_path, reversed(synsets))
    found = map_classes(source.classes, OUTPUTS)
    assert found.columns.tolist() == [int(number) for number in timms(f"imagenet_{name}_indices.txt")]
    assert (np.diff(found.columns) > 0).all()
    assert found.variant == "200way"
    assert found.rule == "synset"
    assert found.explanation.startswith("200 of the model's 1000 classes, found by their WordNet synsets")


def test_a_and_r_share_86_classes():
    a, r = (set(timms(f"imagenet_{name}_synsets.txt")) for name in "ar")
    shared = set(map_classes(sorted(a), OUTPUTS).columns) & set(map_classes(sorted(r), OUTPUTS).columns)
    assert len(shared) == len(a & r) == 86


@pytest.mark.parametrize("name", ["a", "r"])
def test_a_set_that_is_not_the_published_one_says_what_it_lacks(name):
    synsets = timms(f"imagenet_{name}_synsets.txt")
    assert difference_from_published(f"imagenet-{name}", sorted(synsets)) == ""
    said = difference_from_published(f"imagenet-{name}", synsets[2:])
    assert f"has 200 classes, and this set 198; it lacks {synsets[0]}, {synsets[1]}." in said
    stranger = next(each for each in imagenet_synsets() if each not in synsets)
    assert f"and this set 200; it lacks {synsets[0]}; only it has {stranger}." in difference_from_published(
        f"imagenet-{name}", [stranger, *synsets[1:]]
    )
    assert " and 195 more; only it has" in difference_from_published(f"imagenet-{name}", [stranger])
    assert difference_from_published(f"imagenet-{name}", ["cat", "dog"]).startswith(
        f"imagenet-{name} as published has 200 classes, and this set 2. "
    )


def test_of_other_sets_the_number_of_classes_is_known():
    assert difference_from_published("imagenet-o", imagenet_synsets()[:200]) == ""
    assert "200 classes, and this set 199." in difference_from_published("imagenet-o", imagenet_synsets()[:199])
    assert difference_from_published("imagenetv2", OUTPUTS) == ""
    assert "1000 classes, and this set 999." in difference_from_published("imagenetv2", OUTPUTS[:999])
    assert difference_from_published("imagenet-sketch", imagenet_synsets()) == ""
    assert f"it lacks {imagenet_synsets()[0]}." in difference_from_published("imagenet-sketch", imagenet_synsets()[1:])
    assert difference_from_published("holidays", ["cat", "dog"]) == ""


def test_hits_of_parts_are_those_of_the_whole(shifted):
    logits, labels, found = shifted
    whole = vars(subset_hits(logits, labels, found))
    parts = [vars(subset_hits(logits[rows], labels[rows], found)) for rows in (slice(0, 7), slice(7, 7), slice(7, 300))]
    for name, values in whole.items():
        assert np.array_equal(np.concatenate([part[name] for part in parts]), values)


def test_synsets_are_imagenets_in_order():
    synsets = imagenet_synsets()
    assert len(synsets) == 1000
    assert list(synsets) == sorted(synsets) == timms("imagenet_synsets.txt")
    assert synsets[0] == "n01440764"


def test_numbered_folders_are_sorted_as_numbers(tmp_path):
    source = folder_of(tmp_path, OUTPUTS)
    assert source.classes[:4] == ("0", "1", "10", "100")  # the trap: the folder's own order is that of text
    for model_classes in (OUTPUTS, imagenet_synsets()):
        found = map_classes(source.classes, model_classes)
        assert found.columns.tolist() == [int(name) for name in source.classes]
    assert found.rule == "number"
    assert "10 after 9" in found.explanation
    # A model that names each image's class outright is right on all of them, and on few in the order of text.
    records = [record for shard in range(len(source.shard_sizes)) for record in source.read(shard)]
    sure = np.eye(1000)[[int(record.key.split("/")[0]) for record in records]]
    labels = np.array([record.label for record in records])
    assert eval_result(10 * sure, labels, found)["top1_1000way"] == 1
    assert (sure.argmax(axis=1) == labels).mean() < 0.05


def test_a_models_own_names_come_first():
    # Trained on a folder of numbers, its outputs are in the order of text, and numbers are names.
    model_classes = tuple(sorted(OUTPUTS))
    found = map_classes(("2", "10"), model_classes)
    assert [model_classes[column] for column in found.columns] == ["2", "10"]
    assert found.rule == "name"
    shuffled = tuple(np.random.default_rng(0).permutation(imagenet_synsets()))
    found = map_classes(("n01440764", "n15075141"), shuffled)
    assert [shuffled[column] for column in found.columns] == ["n01440764", "n15075141"]


@pytest.mark.parametrize(
    ("classes", "model_classes", "message"),
    [
        (("n01440764", "n99999999"), imagenet_synsets(), "'n99999999'"),
        (("n01440764", "n01443537"), ("cat", "dog"), "Name the folders like the model's classes"),
        (OUTPUTS, ("cat", "dog"), "Numbers count as ImageNet's when all of 0 to 999"),
        (OUTPUTS[:200], imagenet_synsets(), "set of 200 classes has a class '0'"),
    ],
)
def test_classes_that_cannot_be_found_are_refused(classes, model_classes, message):
    with pytest.raises(DataError, match=message):
        map_classes(classes, model_classes)


@pytest.fixture
def shifted():
    """Random outputs for 300 images of ImageNet-A's classes, where an outsider wins over the right insider."""
    random = np.random.default_rng(0)
    found = map_classes(sorted(timms("imagenet_a_synsets.txt")), OUTPUTS)
    labels = random.integers(0, 200, 300)
    logits = random.normal(size=(300, 1000))
    logits[np.arange(300), found.columns[labels]] = 8
    outsiders = np.setdiff1d(np.arange(1000), found.columns)
    logits[np.arange(300), random.choice(outsiders, 300)] = 9
    return logits, labels, found


def test_outputs_outside_the_set_are_out_of_the_choice(shifted):
    scores = eval_result(*shifted)
    assert scores["top1_200way"] == 1
    assert scores["top1_1000way"] == 0
    assert scores["top5_1000way"] == 1
    assert set(scores) == {
        "top1_200way", "top5_200way", "rms_calibration_error_200way", "aurra_200way", "top1_1000way", "top5_1000way"
    }  # fmt: skip


def test_the_softmax_and_the_first_five_are_inside_the_set_too(shifted):
    logits, labels, found = shifted
    outsiders = np.setdiff1d(np.arange(1000), found.columns)
    louder = logits.copy()
    louder[:, outsiders] += 50
    before, after = eval_result(logits, labels, found), eval_result(louder, labels, found)
    assert after == {**before, "top5_1000way": 0.0}
    # Confidence as the softmax of the slice: 8 against 199 others of mean e^(1/2).
    inside = np.exp(logits[:, found.columns])
    confidence = (inside / inside.sum(axis=1, keepdims=True)).max(axis=1)
    bins = np.sort(confidence).reshape(3, 100).mean(axis=1)
    assert before["rms_calibration_error_200way"] == pytest.approx(np.sqrt(np.mean((1 - bins) ** 2)))


def test_the_names_carry_the_number_of_classes():
    scores = eval_result(np.eye(4)[[0, 1, 2]], np.array([0, 1, 2]), map_classes(("a", "b", "c"), tuple("abcd")))
    assert {name for name in scores if name.startswith("top1")} == {"top1_3way", "top1_4way"}
    whole = eval_result(np.eye(2), np.array([0, 1]), map_classes(("b", "a"), ("a", "b")))
    assert {name for name in whole if name.startswith("top1")} == {"top1_2way"}
    assert whole["top1_2way"] == 0


def test_clean_images_of_the_same_classes():
    found = map_classes(("d", "b"), tuple("abcd"))
    mask, labels = rows_within(np.array([0, 1, 3, 3, 2, 1]), found)
    assert mask.tolist() == [False, True, True, True, False, True]
    assert labels.tolist() == [1, 0, 0, 1]


def test_predictions_of_another_model_are_refused(shifted):
    logits, labels, found = shifted
    with pytest.raises(DataError, match="The predictions have 200 classes"):
        eval_result(logits[:, :200], labels, found)


@pytest.mark.parametrize("ties", [False, True])
def test_detection_is_scikit_learns(ties):
    random = np.random.default_rng(2)
    found = map_classes([imagenet_synsets()[number] for number in range(5, 205)], imagenet_synsets())
    within, outside = random.normal(size=(500, 1000)), random.normal(size=(120, 1000))
    within[:, 10] += random.normal(3, 2, 500)
    if ties:
        within, outside = (np.repeat(rows[::4], 4, axis=0) for rows in (within, outside))
        within[:40] = outside[:40]
    inside = np.exp(np.concatenate([within, outside])[:, 5:205])
    confidence = (inside / inside.sum(axis=1, keepdims=True)).max(axis=1)
    unknown = np.arange(620) >= 500
    false_positives, recalls, _ = roc_curve(unknown, -confidence, drop_intermediate=False)
    scores = told_apart(within, outside, found)
    assert scores == {
        "aupr_200way": pytest.approx(average_precision_score(unknown, -confidence), abs=1e-12),
        "auroc_200way": pytest.approx(roc_auc_score(unknown, -confidence), abs=1e-12),
        "fpr95_200way": pytest.approx(false_positives[np.argmax(recalls >= 0.95)], abs=1e-12),
        "chance_aupr": pytest.approx(120 / 620),
    }


def test_detection_at_its_ends():
    found = map_classes(("a", "b"), ("a", "b"))
    sure, unsure = np.array([[9.0, 0.0]] * 6), np.zeros((4, 2))
    perfect = told_apart(sure, unsure, found)
    assert (perfect["aupr_2way"], perfect["auroc_2way"], perfect["fpr95_2way"]) == (1, 1, 0)
    blind = told_apart(sure, sure[:4], found)
    assert (blind["aupr_2way"], blind["auroc_2way"], blind["fpr95_2way"]) == (0.4, 0.5, 1)
    assert blind["chance_aupr"] == 0.4
    with pytest.raises(DataError, match="6 images of known classes and 0"):
        told_apart(sure, unsure[:0], found)


def test_a_hit_is_any_label_of_the_set():
    logits = np.array([[5, 4, 3, 2, 1, 0, 0]] * 5, float)
    sets = [(0,), (3, 0), (4,), (6, 5), ()]
    scores = label_set_scored(logits, sets, np.arange(7))
    assert scores == {"label_set_top1_7way": 0.5, "label_set_top5_7way": 0.75, "count": 4, "skipped": 1}
    # A model with its outputs the other way round.
    assert label_set_scored(logits[:, ::-1], sets, np.arange(7)[::-1]) == pytest.approx(scores)
    with pytest.raises(DataError, match="Of 5 images none"):
        label_set_scored(logits, [()] * 5, np.arange(7))


def test_reassessed_labels_are_timms(tmp_path):
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
    ours = label_set_scored(logits, label_sets_of(keys, sets), np.arange(1000))
    assert 100 * ours["label_set_top1_1000way"] == pytest.approx(theirs.get_accuracy(1))
    assert 100 * ours["label_set_top5_1000way"] == pytest.approx(theirs.get_accuracy(5))
    assert ours["count"] == len(theirs.is_correct[1])
    assert ours["skipped"] == sum(not sets[number] for number in rows) > 0


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[[1], [2", "cannot be read"),
        ('{"a": [1]}', "no list of lists"),
        ("[[1], 2]", "no list of lists"),
        ("[[1], [1000]]", "1000 as a class of image 2"),
        ("[[true]]", "True as a class of image 1"),
    ],
)
def test_files_that_hold_no_label_sets_are_refused(tmp_path, content, message):
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
