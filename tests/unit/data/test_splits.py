"""The roles of a run's images: classes by name, no held-out image in training, and which labels validate."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from data_images import class_folders, write_image
from noisystudent.data.dedup.leakage import Excluded
from noisystudent.data.dedup.repeats import Conflict
from noisystudent.data.settings import DataSettings
from noisystudent.data.source import PassedOver
from noisystudent.data.sources.arrays import ArraySource
from noisystudent.data.splits import DataSplits, HeldOut, open_splits
from noisystudent.errors import DataError
from scenes import saved_again, scene

LABELED = "digits:unlabeled"  # 1,257 images, about 125 per class
EXACT = {"near_duplicates": "none"}  # at 8 pixels, a few digits look like others


@pytest.mark.parametrize(
    ("test", "few_labels_beside_test", "carved"),
    [(None, 250, True), ("digits:test", 250, False), ("digits:test", 100, True)],
)
def test_beside_a_test_source_labels_are_set_aside_only_when_there_are_many(test, few_labels_beside_test, carved):
    settings = DataSettings(few_labels_beside_test=few_labels_beside_test, **EXACT)
    splits = open_splits({"labeled": LABELED, "test": test}, settings, seed=0)
    assert (splits.validation is not None) == carved
    validation = len(splits.validation) if splits.validation else 0
    assert validation == pytest.approx(0.2 * 1257, abs=5) if carved else validation == 0
    assert len(splits.labeled) + validation == 1257


def test_a_given_validation_source_leaves_all_labels_to_training():
    splits = open_splits({"labeled": LABELED, "validation": "digits:test"}, DataSettings(**EXACT), seed=0)
    assert len(splits.labeled) == 1257
    assert splits.validation is not None
    assert len(splits.validation) == 500


def opened(root: Path, *, settings: DataSettings | None = None, **specs: str) -> DataSplits:
    given = {role: str(root / name) for role, name in specs.items()}
    return open_splits(given, settings or DataSettings(), seed=0)


def held_out_labels(held_out: HeldOut | None) -> dict[str, int]:
    """The label of each held-out image by its key."""
    assert held_out is not None
    joined = held_out.predict_and_join(lambda images: np.zeros((len(images), 3), np.float32))
    return dict(zip(joined.keys, joined.labels.tolist(), strict=True))


# ---- classes by name ----


def test_a_folder_and_a_table_of_the_same_numbers_fit_by_name(tmp_path):
    names = [str(number) for number in range(11)]
    class_folders(tmp_path / "labeled", names, per_class=1)
    for number, name in enumerate(names):
        write_image(tmp_path / "test" / f"{name}.png", seed=5000 + number)
    rows = "".join(f"test/{name}.png,{name}\n" for name in reversed(names))
    (tmp_path / "test.csv").write_text(f"path,label\n{rows}")
    splits = opened(tmp_path, labeled="labeled", test="test.csv")
    labels = held_out_labels(splits.test)
    assert {key: splits.classes[label] for key, label in labels.items()} == {f"test/{name}.png": name for name in names}
    assert splits.summaries["test"].notes == ()


def test_fewer_held_out_classes_are_mapped_and_noted(tmp_path):
    class_folders(tmp_path / "labeled", ("cat", "dog", "owl"))
    for name in ("dog", "owl"):
        write_image(tmp_path / "test" / name / "0.png", seed=len(name) + 900 + ord(name[0]))
    splits = opened(tmp_path, labeled="labeled", test="test")
    assert held_out_labels(splits.test) == {"dog/0.png": 1, "owl/0.png": 2}
    (note,) = splits.summaries["test"].notes
    assert note.startswith("only 2 of the 3 classes have images here, and not 'cat'")
    assert splits.summaries["test"].per_class == {"dog": 1, "owl": 1}


def test_names_of_classes_without_an_image_do_not_train(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (6, 8, 8), dtype=np.uint8)
    named = {"classes": np.array(["ant", "bee", "cow", "dog"])}
    np.savez(tmp_path / "labeled.npz", x=pixels, y=[3, 1, 3, 1, 3, 1], **named)
    np.savez(tmp_path / "test.npz", x=255 - pixels[:2], y=[1, 3], **named)
    splits = opened(tmp_path, labeled="labeled.npz", test="test.npz")
    assert splits.classes == ("bee", "dog")
    assert splits.labeled.labels.tolist() == [1, 0, 1, 0, 1, 0]
    assert held_out_labels(splits.test) == {"000000": 0, "000001": 1}
    assert PassedOver("class names without an image", 2, ("ant", "cow")) in splits.summaries["labeled"].passed_over


def test_held_out_classes_of_their_own_are_refused(tmp_path):
    class_folders(tmp_path / "labeled")
    class_folders(tmp_path / "test", ("cat", "bird"))
    with pytest.raises(DataError, match=r"validation source has classes that the labeled source lacks: 'bird'\."):
        opened(tmp_path, labeled="labeled", validation="test")


def arrays(classes: tuple[str, ...], labels: list[int], *, first: int = 0, labeled: bool = True) -> ArraySource:
    """Random images of 8 pixels; ``first`` is the seed of the first."""
    random = [np.random.default_rng(first + row).integers(0, 256, (8, 8), np.uint8) for row in range(len(labels))]
    keys = [f"{first + row}" for row in range(len(labels))]
    return ArraySource("arrays", np.stack(random), keys=keys, labels=np.array(labels), classes=classes, labeled=labeled)


def test_labels_take_the_order_of_a_given_model_with_the_same_classes():
    labeled = arrays(("cat", "dog"), [0, 0, 1])
    splits = open_splits({"labeled": labeled}, DataSettings(), seed=0, classes=("dog", "cat"))
    assert splits.classes == ("dog", "cat")
    assert splits.labeled.labels.tolist() == [1, 1, 0]
    other = open_splits({"labeled": labeled}, DataSettings(), seed=0, classes=("dog", "cat", "owl"))
    assert (other.classes, other.labeled.labels.tolist()) == (("cat", "dog"), [0, 0, 1])


def test_the_truth_of_unlabeled_images_is_read_by_name_too():
    decomposed, composed = "Blu\u0308te", "Bl\u00fcte"
    unlabeled = arrays((decomposed, "Gras"), [0, 1, 1], first=50, labeled=False)
    sources = {"labeled": arrays(("Gras", composed), [0, 1]), "unlabeled": unlabeled}
    truth = open_splits(sources, DataSettings(), seed=0).truth
    assert truth is not None
    assert truth.accuracy(np.array([1, 0, 0])) == 1


# ---- labels against held-out images ----


@pytest.fixture
def leaky(tmp_path):
    """Labeled images of two classes, of which one is identical to a test image and one saved again."""
    random = np.random.default_rng(6)
    for part, count in (("labeled", 4), ("test", 3)):
        for name in ("a", "b"):
            (tmp_path / part / name).mkdir(parents=True)
            for number in range(count):
                Image.fromarray(scene(random, 32, 32)).save(tmp_path / part / name / f"{number}.png")
    Image.open(tmp_path / "test/a/1.png").save(tmp_path / "labeled/a/same.bmp")
    again = saved_again(np.asarray(Image.open(tmp_path / "test/b/2.png")), 60)
    Image.fromarray(again).save(tmp_path / "labeled/b/again.png")
    return tmp_path


SAME, AGAIN = Excluded("a/same.bmp", "a/1.png", "identical"), Excluded("b/again.png", "b/2.png", "near-duplicate")


@pytest.mark.parametrize("role", ["validation", "test"])
def test_labeled_images_that_are_held_out_do_not_train(leaky, role):
    splits = opened(leaky, labeled="labeled", **{role: "test"})
    assert splits.summaries["labeled"].left_out == (SAME, AGAIN)
    assert not {"a/same.bmp", "b/again.png"} & set(splits.labeled.keys)
    assert len(splits.labeled) == 8
    assert splits.summaries["labeled"].images == 10
    exact = opened(leaky, labeled="labeled", settings=DataSettings(near_duplicates="none"), **{role: "test"})
    assert exact.summaries["labeled"].left_out == (SAME,)


def test_labels_without_held_out_images_stay_as_they_are(leaky):
    for name in ("a/same.bmp", "b/again.png"):
        (leaky / "labeled" / name).unlink()
    alone, beside = opened(leaky, labeled="labeled"), opened(leaky, labeled="labeled", test="test")
    assert beside.labeled.keys == alone.labeled.keys
    assert beside.summaries["labeled"] == alone.summaries["labeled"]


def test_labels_of_which_none_or_none_of_a_class_is_left_are_refused_with_advice(leaky):
    for path in (leaky / "labeled/a").iterdir():
        path.write_bytes((leaky / "test/a/0.png").read_bytes())
    message = r"all labeled images of 'a' are also test images, the first of them 'a/0\.png' \(it is 'a/0\.png'\)"
    with pytest.raises(DataError, match=message):
        opened(leaky, labeled="labeled", test="test")
    with pytest.raises(DataError, match=r"all labeled images of 'a', 'b' are also validation or test images"):
        opened(leaky, labeled="test", test="test", validation="labeled")


def test_a_class_of_look_alikes_only_trains_with_a_note(leaky):
    for path in (leaky / "labeled/b").glob("[0-9].png"):
        path.unlink()
    splits = opened(leaky, labeled="labeled", test="test")
    assert splits.summaries["labeled"].left_out == (SAME,)
    assert "b/again.png" in splits.labeled.keys
    (note,) = splits.summaries["labeled"].notes
    assert note.startswith("1 images of 'b' look like test images (the first, 'b/again.png', like 'b/2.png') and train")


def test_labels_of_look_alikes_only_are_refused(leaky):
    for name in ("a", "b"):
        for path in (leaky / "labeled" / name).iterdir():
            path.unlink()
        for number in range(3):
            again = saved_again(np.asarray(Image.open(leaky / "test" / name / f"{number}.png")), 60)
            Image.fromarray(again).save(leaky / "labeled" / name / f"{number}.png")
    with pytest.raises(DataError, match=r"all 6 labeled images are also test images.*6 of them only look the same"):
        opened(leaky, labeled="labeled", test="test")


def crowded(random: np.random.Generator, base: np.ndarray) -> np.ndarray:
    """Another image of a kind that looks alike."""
    return (0.92 * base.astype(float) + 0.08 * scene(random, 32, 32, 3)).astype(np.uint8)


def test_unlabeled_images_show_that_a_kind_of_image_looks_alike(tmp_path):
    random = np.random.default_rng(0)
    base = scene(random, 32, 32)
    for part, count in (("labeled", 3), ("test", 1)):
        for name in ("a", "b"):
            (tmp_path / part / name).mkdir(parents=True)
            for number in range(count):
                image = crowded(random, base) if name == "a" else scene(random, 32, 32)
                Image.fromarray(image).save(tmp_path / part / name / f"{number}.png")
    Image.fromarray(scene(random, 32, 32)).save(tmp_path / "labeled/a/other.png")
    (tmp_path / "unlabeled").mkdir()
    for number in range(6):
        Image.fromarray(crowded(random, base)).save(tmp_path / "unlabeled" / f"{number}.png")
    without_them = opened(tmp_path, labeled="labeled", test="test")
    assert len(without_them.summaries["labeled"].left_out) == 3
    with_them = opened(tmp_path, labeled="labeled", test="test", unlabeled="unlabeled")
    assert with_them.summaries["labeled"].left_out == ()


def test_copies_in_a_carved_out_validation_set_do_not_train():
    labels = [0] * 30 + [1] * 30
    source = arrays(("cat", "dog"), labels)
    images = source._images.copy()
    images[1:30:2] = images[0:30:2]  # every cat twice
    twice = ArraySource(
        "twice", images, keys=source._keys, labels=np.array(labels), classes=("cat", "dog"), labeled=True
    )
    splits = open_splits({"labeled": twice}, DataSettings(), seed=0)
    assert splits.validation is not None
    assert len(splits.validation) == 12
    pixels_of = dict(zip(source._keys, (image.tobytes() for image in images), strict=True))
    held_out = {pixels_of[key] for key in held_out_labels(splits.validation)}
    assert not held_out & {pixels_of[key] for key in splits.labeled.keys}
    left_out = splits.summaries["labeled"].left_out
    assert {image.found for image in left_out} == {"identical"}
    assert len(splits.labeled) == 60 - 12 - len(left_out)
    assert splits.summaries["labeled"].repeats == 15


def test_validation_images_that_are_also_test_images_are_noted(leaky):
    Image.open(leaky / "test/a/1.png").save(leaky / "labeled/a/same.bmp")
    class_folders(leaky / "train", ("a", "b"))
    splits = opened(leaky, labeled="train", validation="labeled", test="test")
    (note,) = splits.summaries["validation"].notes
    assert note.startswith("1 of the validation images are also test images, such as 'a/same.bmp' (it is 'a/1.png')")


# ---- what a source holds ----


def test_a_summary_has_everything_that_needs_the_users_eye(tmp_path):
    class_folders(tmp_path, per_class=30)
    (tmp_path / "dog" / "copy.png").write_bytes((tmp_path / "cat" / "0.png").read_bytes())
    (tmp_path / "cat" / "broken.png").write_bytes(b"")
    (tmp_path / "cat" / "notes.txt").write_text("x")
    summary = opened(tmp_path, labeled=".", settings=DataSettings(validation_fraction=0)).summaries["labeled"]
    assert (summary.images, summary.per_class) == (61, {"cat": 30, "dog": 31})
    assert [failure.key for failure in summary.failures] == ["cat/broken.png"]
    assert summary.passed_over == (PassedOver("files that end in .txt", 1, ("cat/notes.txt",)),)
    assert summary.conflicts == (Conflict(("cat/0.png", "dog/copy.png"), ("cat", "dog")),)
    assert summary.repeats == 0
