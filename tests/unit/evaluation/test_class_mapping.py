"""The outputs that a model has for the classes of a source, by name, synset or number."""

import itertools
from pathlib import Path

import numpy as np
import pytest
import timm.data
from PIL import Image

from noisystudent.data.sources.folder import FolderSource
from noisystudent.errors import DataError
from noisystudent.evaluation.class_mapping import map_classes, map_source_classes
from noisystudent.models.imagenet import imagenet_synsets

OUTPUTS = tuple(str(number) for number in range(1000))  # the classes of a checkpoint without class names


def timms(name: str) -> list[str]:
    """A list that timm includes, such as the 200 synsets of ImageNet-A."""
    return (Path(timm.data.__file__).parent / "_info" / name).read_text().split()


def folder_of(root: Path, names) -> FolderSource:
    for name in names:
        (root / name).mkdir(parents=True)
        Image.new("RGB", (4, 4)).save(root / name / "0.png")
    return FolderSource(root, labeled=True)


@pytest.mark.parametrize("name", ["a", "r"])
def test_synset_folders_map_to_the_indices_that_timm_lists(tmp_path, name):
    synsets = timms(f"imagenet_{name}_synsets.txt")
    source = folder_of(tmp_path, reversed(synsets))
    mapping = map_classes(source.classes, OUTPUTS)
    assert mapping.columns.tolist() == [int(number) for number in timms(f"imagenet_{name}_indices.txt")]
    assert (np.diff(mapping.columns) > 0).all()
    assert mapping.variant == "200way"
    assert mapping.rule == "synset"
    assert mapping.explanation.startswith("200 of the model's 1000 classes, found by their WordNet synsets")


def test_a_and_r_share_86_classes():
    a, r = (set(timms(f"imagenet_{name}_synsets.txt")) for name in "ar")
    shared = set(map_classes(sorted(a), OUTPUTS).columns) & set(map_classes(sorted(r), OUTPUTS).columns)
    assert len(shared) == len(a & r) == 86


def test_synsets_are_imagenets_in_order():
    synsets = imagenet_synsets()
    assert len(synsets) == 1000
    assert list(synsets) == sorted(synsets) == timms("imagenet_synsets.txt")
    assert synsets[0] == "n01440764"


def test_numbered_folders_are_sorted_as_numbers(tmp_path):
    source = folder_of(tmp_path, OUTPUTS)
    assert source.classes[:4] == ("0", "1", "2", "3")
    for classes, model_classes in itertools.product((source.classes, sorted(OUTPUTS)), (OUTPUTS, imagenet_synsets())):
        mapping = map_classes(classes, model_classes)
        assert mapping.columns.tolist() == [int(name) for name in classes]
    assert mapping.rule == "number"
    assert "10 after 9" in mapping.explanation


def test_the_models_own_names_take_precedence():
    # A model trained on numbered folders has outputs in the order of text, and the numbers are names.
    model_classes = tuple(sorted(OUTPUTS))
    mapping = map_classes(("2", "10"), model_classes)
    assert [model_classes[column] for column in mapping.columns] == ["2", "10"]
    assert mapping.rule == "name"
    shuffled = tuple(np.random.default_rng(0).permutation(imagenet_synsets()))
    mapping = map_classes(("n01440764", "n15075141"), shuffled)
    assert [shuffled[column] for column in mapping.columns] == ["n01440764", "n15075141"]


@pytest.mark.parametrize(
    ("classes", "model_classes", "message"),
    [
        (("n01440764", "n99999999"), imagenet_synsets(), "class 'n99999999' is unknown to the model, which has 1000"),
        (("n01440764", "n01443537"), ("cat", "dog"), "Name the folders after the model's classes"),
        (OUTPUTS, ("cat", "dog"), "only if all of 0 to 999 are present"),
        (OUTPUTS[:200], imagenet_synsets(), "source has 200 classes; its class '0' is unknown"),
    ],
)
def test_unknown_classes_are_refused(classes, model_classes, message):
    with pytest.raises(DataError, match=message):
        map_classes(classes, model_classes)


def test_sources_without_labels_or_with_unknown_classes_are_refused():
    with pytest.raises(DataError, match=r"evaluated source has no labels.*'cat', 'dog'"):
        map_source_classes(None, ("cat", "dog"), "evaluated")
    with pytest.raises(DataError, match=r"unknown to the model \(1 of 2\): 'bird'.*classes are 'cat', 'dog'"):
        map_source_classes(("bird", "cat"), ("cat", "dog"), "evaluated")
    assert map_source_classes(("dog",), ("cat", "dog"), "evaluated").columns.tolist() == [1]


def test_only_the_same_names_in_the_same_order_are_the_identity():
    assert map_classes(("a", "b"), ("a", "b")).is_identity
    assert not map_classes(("b", "a"), ("a", "b")).is_identity
    assert not map_classes(("a", "b"), ("a", "b", "c")).is_identity
