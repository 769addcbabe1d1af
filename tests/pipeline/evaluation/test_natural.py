"""Naturally shifted sets in the suite: a model that is known in closed form, on folders like those of the sets."""

import json
from pathlib import Path

import numpy as np
import pytest
import timm.data
import torch
from PIL import Image
from scipy.special import softmax
from sklearn.metrics import average_precision_score, roc_auc_score
from torch import nn

import noisystudent
from noisystudent.artifacts.typed_json import read_result
from noisystudent.commands.main import main
from noisystudent.config import section_settings
from noisystudent.data.sources.open import open_source
from noisystudent.errors import DataError, MismatchError, SettingsError
from noisystudent.evaluation import eval_dataset as datasets
from noisystudent.evaluation.eval_dataset import EvalDataset
from noisystudent.evaluation.results import RobustnessResult
from noisystudent.evaluation.settings import EvaluationSettings
from noisystudent.evaluation.suite import measure
from noisystudent.models.checkpoint import load_classifier
from noisystudent.models.imagenet import imagenet_synsets
from noisystudent.models.predictor import Predictor
from noisystudent.noise.crop import PlainView
from noisystudent.runtime.progress import Reporter
from noisystudent.runtime.settings import RuntimeSettings

SYNSETS = imagenet_synsets()
CODES = np.array([(number % 32 * 8, number // 32 * 8) for number in range(1000)])  # red and green of each class
OUTSIDER = 0  # wins wherever there is blue; a class of none of the smaller sets


class Nearest(nn.Module):
    """The class whose code is nearest to an image's red and green, and in blue images the outsider, by far."""

    def forward(self, pixels):
        red_green, blue = pixels.mean(dim=(2, 3)).split((2, 1), dim=1)
        codes = torch.tensor(CODES / 255, dtype=torch.float32)
        logits = 4000 * (red_green @ codes.T - (codes**2).sum(dim=1) / 2)
        return logits + 8000 * blue * (torch.arange(1000) == OUTSIDER)


def nearest(color, columns) -> int:
    """Which of the columns an image of that red and green is nearest to, the lower of two."""
    return int(columns[((CODES[columns] - np.array(color[:2])) ** 2).sum(axis=1).argmin()])


def paint(root: Path, images) -> Path:
    """A folder of 8 px images, each of one color, from (key, color)."""
    for key, color in images:
        (root / key).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8), tuple(map(int, color))).save(root / key)
    return root


def code(number: int, blue: int = 0):
    return (*CODES[number], blue)


@pytest.fixture(scope="module")
def predictor():
    return Predictor.of_module(Nearest().eval(), classes=SYNSETS, size=8)


def clean_color(number: int):
    """Every tenth class is shown as one of another column and row of the codes, so that it is not always right."""
    return code((number + 345) % 1000) if number % 10 == 0 else code(number)


@pytest.fixture(scope="module")
def clean(tmp_path_factory):
    """An image of each of ImageNet's classes, numbered against the order of the classes."""
    keys = [f"{synset}/ILSVRC2012_val_{1000 - number:08d}.png" for number, synset in enumerate(SYNSETS)]
    colors = [clean_color(number) for number in range(1000)]
    return paint(tmp_path_factory.mktemp("clean") / "val", zip(keys, colors, strict=True))


@pytest.fixture(scope="module")
def columns_of_a():
    text = (Path(timm.data.__file__).parent / "_info" / "imagenet_a_indices.txt").read_text()
    return np.array([int(number) for number in text.split()])


def images_of_a(columns):
    """Two images a class, of which the outsider wins one."""
    return [(f"{SYNSETS[number]}/{blue}.png", code(number, blue)) for number in columns.tolist() for blue in (0, 255)]


@pytest.fixture(scope="module")
def set_a(tmp_path_factory, columns_of_a):
    return paint(tmp_path_factory.mktemp("a") / "imagenet-a", images_of_a(columns_of_a))


def measured(predictor, source, out, *, corrupt=0.0, images=0, **sets):
    """The results of the sets, whose names have ``_`` for ``-``."""
    dataset = EvalDataset.of_source(
        open_source(source, labeled=True), predictor.format, max_images=images, max_corrupt_fraction=corrupt
    )
    named = tuple(f"{name.replace('_', '-')}={source}" for name, source in sets.items())
    settings = EvaluationSettings(suite=("natural",), natural=named, max_images=images)
    result = measure(predictor, dataset, settings, out, Reporter(quiet=True))
    assert read_result(RobustnessResult, out / "robustness.json") == result
    return result.natural


def test_a_winner_outside_the_set_is_an_error_among_all_alone(clean, set_a, columns_of_a, tmp_path):
    # The outputs are numbers, as a checkpoint's without names of classes.
    predictor = Predictor.of_module(Nearest().eval(), classes=tuple(map(str, range(1000))), size=8)
    result = measured(predictor, clean, tmp_path, imagenet_a=set_a)["imagenet-a"]
    assert (result.scores["top1_200way"], result.scores["top1_1000way"], result.scores["top5_1000way"]) == (1, 0.5, 1)
    correct = np.array([nearest(clean_color(number), columns_of_a) == number for number in columns_of_a])
    assert 0.8 < correct.mean() < 1
    assert result.scores["clean_top1_200way"] == pytest.approx(correct.mean())
    assert result.scores["gap"] == pytest.approx(1 - correct.mean())
    assert result.scores["gap_standard_error"] == pytest.approx(np.sqrt(correct.mean() * (1 - correct.mean()) / 200))
    assert (result.count, result.clean_count, result.notes) == (400, 200, ())
    assert result.source == str(set_a)
    assert result.classes.startswith("200 of the model's 1000 classes, found by their WordNet synsets")


def test_numbered_folders_are_numbers(predictor, clean, tmp_path):
    """As in ImageNetV2, where the order of text would give nearly every image a wrong class."""
    root = paint(tmp_path / "v2", ((f"{number}/0.png", code(number)) for number in range(1000)))
    result = measured(predictor, clean, tmp_path / "out", imagenetv2=root)["imagenetv2"]
    assert result.scores["top1_1000way"] == 1
    assert result.scores["clean_top1_1000way"] == 0.9
    assert result.scores["gap"] == pytest.approx(0.1)
    assert result.notes == ()
    in_text_order = [int(name) == place for place, name in enumerate(sorted(map(str, range(1000))))]
    assert np.mean(in_text_order) < 0.05


def test_unknown_classes_are_separated_as_scikit_learn_does(predictor, clean, tmp_path):
    columns = np.arange(300, 500)
    random = np.random.default_rng(0)
    # Somewhere between the codes of the classes, so that confidence is mostly less than at them.
    colors = [(*CODES[random.choice(columns)] + random.integers(1, 8, 2), 255) for _ in range(600)]
    folders = [SYNSETS[300 + place % 200] for place in range(600)]
    keys = [f"{folder}/{place}.png" for place, folder in enumerate(folders)]
    root = paint(tmp_path / "o", zip(keys, colors, strict=True))
    result = measured(predictor, clean, tmp_path / "out", imagenet_o=root)["imagenet-o"]
    shown = np.array([clean_color(number) for number in columns] + colors)
    views = torch.tensor(shown, dtype=torch.uint8)[:, :, None, None].expand(-1, -1, 8, 8)
    confidence = softmax(predictor.log_probabilities_of_views(views)[:, columns].astype(np.float64), axis=1).max(axis=1)
    unknown = np.arange(800) >= 200
    assert result.scores["aupr_200way"] == pytest.approx(average_precision_score(unknown, -confidence), abs=1e-6)
    assert result.scores["auroc_200way"] == pytest.approx(roc_auc_score(unknown, -confidence), abs=1e-6)
    assert 0.5 < result.scores["auroc_200way"] < 1
    assert result.scores["chance_aupr"] == 0.75
    assert (result.count, result.clean_count, result.notes) == (600, 200, ())
    assert not any(name.startswith("top1") for name in result.scores)  # its folders are not what its images show


def test_reassessed_labels_are_those_of_the_images_numbers(predictor, clean, tmp_path):
    sets = []
    for number in range(999, -1, -1):  # the first set is for the image numbered 1, which is of the last class
        sets.append([] if number % 4 == 0 else [number] if number % 3 else [(number + 345) % 1000, (number + 7) % 1000])
    file = tmp_path / "real.json"
    file.write_text(json.dumps(sets))
    result = measured(predictor, clean, tmp_path / "out", real=file)["real"]
    every = np.arange(1000)
    answers = [nearest(clean_color(number), every) for number in range(1000)]
    hits = [answers[number] in sets[999 - number] for number in range(1000) if number % 4]
    assert 0 < np.mean(hits) < 1
    assert result.scores["label_set_top1_1000way"] == pytest.approx(np.mean(hits))
    assert result.scores["label_set_top5_1000way"] >= result.scores["label_set_top1_1000way"]
    assert (result.count, result.skipped) == (750, 250)


def test_label_sets_are_for_images_with_imagenets_names(predictor, set_a, clean, tmp_path):
    (tmp_path / "real.json").write_text("[[1]]")
    with pytest.raises(DataError, match="no number from 1 to 1"):
        measured(predictor, clean, tmp_path / "out", real=tmp_path / "real.json")
    with pytest.raises(DataError, match=r"evaluation.natural real=no/such.json: The label sets"):
        measured(predictor, clean, tmp_path / "out", real="no/such.json")


def test_a_set_with_a_class_that_the_model_has_not_is_refused(predictor, clean, tmp_path):
    root = paint(tmp_path / "r", [("n01440764/0.png", code(0)), ("n99999999/0.png", code(1))])
    with pytest.raises(DataError, match=r"evaluation.natural imagenet-r=.*class 'n99999999' is unknown"):
        measured(predictor, clean, tmp_path / "out", imagenet_r=root)


def test_missing_classes_are_reported(predictor, clean, columns_of_a, tmp_path):
    root = paint(tmp_path / "a", images_of_a(columns_of_a[3:]))
    result = measured(predictor, clean, tmp_path / "out", imagenet_a=root)["imagenet-a"]
    assert result.scores["top1_197way"] == 1
    assert result.clean_count == 197
    (note,) = result.notes
    assert "has 200 classes, and this set has 197; missing: " + ", ".join(SYNSETS[n] for n in columns_of_a[:3]) in note
    # Classes that are named, and have no image: in the set itself, and among the clean images.
    names = [SYNSETS[number] for number in range(10, 20)]
    pixels = (
        np.zeros((30, 8, 8, 3), np.uint8)
        + np.array([code(10 + place // 10) for place in range(30)], np.uint8)[:, None, None]
    )
    np.savez(tmp_path / "few.npz", x=pixels, y=np.arange(30) // 10, classes=np.array(names))
    result = measured(predictor, clean, tmp_path / "few", images=20, few=tmp_path / "few.npz")["few"]
    assert result.scores["top1_10way"] == 1
    assert result.count == 20
    assert "7 of its 10 classes have no image" in result.notes[0]
    assert f"{10 - result.clean_count} of its 10 classes have no clean image" in result.notes[1]


def test_without_clean_images_there_is_no_gap(predictor, clean, tmp_path):
    images = [(f"{SYNSETS[number]}/0.png", code(number)) for number in (1, 2)]
    root, unknown = paint(tmp_path / "two", images), paint(tmp_path / "o", images)
    result = measured(predictor, clean, tmp_path / "out", images=5, two=root)["two"]
    assert (result.clean_count, result.scores["clean_top1_2way"], result.scores["gap"]) == (0, None, None)
    assert result.scores["top1_2way"] == 1
    with pytest.raises(DataError, match="0 images of known classes and 2 of unknown"):
        measured(predictor, clean, tmp_path / "out", images=5, imagenet_o=unknown)


def test_unreadable_images_are_bounded_and_reported(predictor, clean, columns_of_a, tmp_path):
    root = paint(tmp_path / "a", images_of_a(columns_of_a[:5]))
    (root / SYNSETS[columns_of_a[0]] / "bad.png").write_bytes(b"no image")
    with pytest.raises(DataError, match=r"bad\.png"):
        measured(predictor, clean, tmp_path / "out", mine=root)
    result = measured(predictor, clean, tmp_path / "out", mine=root, corrupt=0.1)["mine"]
    assert result.count == 10
    assert "1 of 11 images could not be read" in result.notes[0]


def test_finished_sets_are_not_measured_again(predictor, clean, set_a, columns_of_a, tmp_path, monkeypatch):
    other = paint(tmp_path / "other", images_of_a(columns_of_a[:4]))
    out, shards = tmp_path / "out", []
    decode = datasets.decode_shard
    monkeypatch.setattr(
        datasets, "decode_shard", lambda source, *rest: shards.append(source.name) or decode(source, *rest)
    )
    first = measured(predictor, clean, out, imagenet_a=set_a)
    assert shards.count(str(set_a)) == 1
    shards.clear()
    assert measured(predictor, clean, out, imagenet_a=set_a) == first
    assert not shards
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*.parquet")}
    wider = measured(predictor, clean, out, imagenet_a=set_a, other=other)
    assert shards == [str(clean), str(other)]
    assert wider["imagenet-a"] == first["imagenet-a"]
    assert {path: path.stat().st_mtime_ns for path in before} == before
    paint(other, [(f"{SYNSETS[columns_of_a[0]]}/new.png", code(0))])
    with pytest.raises(
        MismatchError, match=r"natural/other holds results that were measured differently; what differs: set:"
    ):
        measured(predictor, clean, out, imagenet_a=set_a, other=other)


def test_clean_images_are_gone_through_once_for_all_sets(predictor, clean, set_a, tmp_path, monkeypatch):
    (tmp_path / "real.json").write_text(json.dumps([[number] for number in range(1000)]))
    out, shown = tmp_path / "out", []
    measured(predictor, clean, out, mine=set_a)
    ask = Predictor.log_probabilities_of_views
    monkeypatch.setattr(
        Predictor, "log_probabilities_of_views", lambda self, views: shown.append(len(views)) or ask(self, views)
    )
    measured(predictor, clean, out, imagenet_a=set_a, yours=set_a, real=tmp_path / "real.json", mine=set_a)
    assert sum(shown) == 1000 + 2 * 400
    assert max(shown) <= 512


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"suite": ["natural"]}, "no set is given; give sets as evaluation.natural NAME=SOURCE"),
        ({"suite": ["clean"], "natural": ["a=b"]}, "natural is not in the suite; add natural to evaluation.suite"),
        ({"suite": ["natural"], "natural": ["/data/imagenet-a"]}, "'/data/imagenet-a', which is not NAME=SOURCE"),
        ({"suite": ["natural"], "natural": ["../a=b"]}, "which is not NAME=SOURCE"),
        ({"suite": ["natural"], "natural": ["ImageNet_O=b"]}, "'ImageNet_O'; write imagenet-o"),
        ({"suite": ["natural"], "natural": ["ReaL=b"]}, "'ReaL'; write real"),
        ({"suite": ["natural"], "natural": ["a=b", "a=c"]}, "names a set twice"),
    ],
)
def test_sets_and_suite_must_agree(settings, message):
    with pytest.raises(SettingsError, match=message):
        section_settings(EvaluationSettings, "evaluation", {"evaluation": settings}, command="robustness")


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    """A checkpoint for digits that has learned a little, and test images of three classes in another order."""
    root = tmp_path_factory.mktemp("digits")
    settings = {"train.steps": 40, "train.batch_size": 32, "noise.strength": 0, "runtime.threads": 1}
    noisystudent.train(labeled="digits:labeled@0", out=root / "checkpoint", settings=settings, quiet=True)
    classes = ("7", "2", "5")
    records = [record for record in open_source("digits:test@0", labeled=True).read(0) if str(record.label) in classes]
    np.savez(
        root / "three.npz",
        x=255 - np.stack([np.asarray(record.image) for record in records]),
        y=np.array([classes.index(str(record.label)) for record in records]),
        classes=np.array(classes),
    )
    return root / "checkpoint", root / "three.npz"


def test_the_command_measures_three_classes_among_three_and_among_ten(digits, tmp_path, capsys):
    checkpoint, three = digits
    words = [
        "evaluate",
        f"--checkpoint={checkpoint}",
        "--source=digits:test@0",
        f"--evaluation.natural=negative={three}",
    ]
    assert main([*words, "--suite=natural", f"--out={tmp_path}"]) == 0
    printed = capsys.readouterr().out
    result = read_result(RobustnessResult, tmp_path / "robustness.json").natural["negative"]
    classifier = load_classifier(checkpoint)
    columns = [7, 2, 5]
    accuracies = {}
    for name, spec in (("shifted", str(three)), ("clean", "digits:test@0")):
        source = open_source(spec, labeled=True)
        format = Predictor.of_classifier("", "", classifier, RuntimeSettings()).format
        (batch,) = EvalDataset.of_source(source, format).batches(PlainView(classifier.size), torch.device("cpu"))
        with torch.no_grad():
            logits = classifier(batch.views).numpy()
        labels = np.array([int(source.classes[label]) for label in batch.labels])
        inside = np.isin(labels, columns)
        within = np.array(columns)[logits[inside][:, columns].argmax(axis=1)]
        among_all = logits[inside].argmax(axis=1) == labels[inside]
        accuracies[name] = (within == labels[inside]).mean(), among_all.mean()
    assert result.scores["top1_3way"] == pytest.approx(accuracies["shifted"][0])
    assert result.scores["top1_10way"] == pytest.approx(accuracies["shifted"][1])
    assert result.scores["top1_10way"] < result.scores["top1_3way"]
    assert result.scores["clean_top1_3way"] == pytest.approx(accuracies["clean"][0])
    assert result.scores["gap"] == pytest.approx(accuracies["shifted"][0] - accuracies["clean"][0])
    assert f"negative: {result.count} images, 3 of the model's 10 classes, found by the names that the model" in printed
    assert f"{'gap':<30} {result.scores['gap']:7.4f} +- {result.scores['gap_standard_error']:.4f}" in printed
    assert main([*words, f"--out={tmp_path}"]) == 2
    assert "natural is not in the suite" in capsys.readouterr().err
    words = ["evaluate", f"--checkpoint={checkpoint}", "--source=digits:test", "--suite=natural"]
    assert main([*words, f"--out={tmp_path / 'none'}"]) == 2
    assert "no set is given" in capsys.readouterr().err
    assert not (tmp_path / "none").exists()


def test_the_fraction_of_unreadable_images_is_that_of_the_data(digits, tmp_path):
    root = tmp_path / "images"
    paint(root, [(f"{number}/{copy}.png", (40 * number,) * 3) for number in range(3) for copy in range(3)])
    (root / "1" / "bad.png").write_bytes(b"no image")
    settings = {"evaluation.suite": ["natural"], "evaluation.natural": [f"mine={root}"]}
    with pytest.raises(DataError, match=r"1/bad\.png"):
        noisystudent.robustness(
            checkpoint=digits[0], source="digits:test", out=tmp_path / "out", settings=settings, quiet=True
        )
    result = noisystudent.robustness(
        checkpoint=digits[0], source="digits:test", out=tmp_path / "out", quiet=True,
        settings={**settings, "data.max_corrupt_fraction": 0.1},
    )  # fmt: skip
    assert result.natural["mine"].count == 9
