"""Robustness on published sets: the same as on generated ones with the same images, and what gaps do."""

import json
from dataclasses import asdict

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from torch import nn

import noisystudent
from noisystudent.artifacts.typed_json import to_json
from noisystudent.commands.main import main
from noisystudent.data.sources.folder import FolderSource
from noisystudent.data.sources.open import open_source
from noisystudent.errors import ArtifactError, DataError, MismatchError
from noisystudent.evaluation.corruptions import published as published_corruptions
from noisystudent.evaluation.corruptions.generate import corrupt
from noisystudent.evaluation.corruptions.metrics import ALEXNET_CLEAN_ERROR, ALEXNET_ERRORS
from noisystudent.evaluation.corruptions.tables import TEST_CORRUPTIONS
from noisystudent.evaluation.eval_dataset import EvalDataset
from noisystudent.evaluation.perturbations.generate import sequence
from noisystudent.evaluation.settings import EvaluationSettings
from noisystudent.evaluation.suite import measure
from noisystudent.models.predictor import Predictor
from noisystudent.noise.crop import PlainView
from noisystudent.runtime.progress import Reporter
from noisystudent.runtime.settings import RuntimeSettings

NAMES = ("gaussian_noise", "contrast")
STEADY = ("gaussian_noise", "rotate")
CORRUPTIONS = {"evaluation.suite": ["corruptions"], "evaluation.corruptions": list(NAMES)}
PERTURBATIONS = {"evaluation.suite": ["perturbations"], "evaluation.perturbations": list(STEADY)}


@pytest.fixture(scope="module")
def given(tmp_path_factory):
    """A checkpoint for digits of 16 px that has learned a little, 3 images of each, and both kinds of sets."""
    root = tmp_path_factory.mktemp("given")
    noisystudent.train(
        labeled="digits:labeled", out=root / "checkpoint", quiet=True,
        settings={"train.steps": 20, "train.batch_size": 32, "data.size": 16, "model.teacher": "tiny_resnet"},
    )  # fmt: skip
    source = open_source("digits:test", labeled=True)
    all_records = list(source.read(0))
    records = [
        record for digit in range(10) for record in [record for record in all_records if record.label == digit][:3]
    ]
    np.savez(
        root / "few.npz",
        x=np.stack([np.asarray(record.image) for record in records]),
        y=np.array([record.label for record in records]),
        classes=np.array(source.classes),
    )
    predictor = Predictor.open(root / "checkpoint", RuntimeSettings())
    clean = open_source(str(root / "few.npz"), labeled=True)
    (batch,) = EvalDataset.of_source(clean, predictor.format).batches(PlainView(16), torch.device("cpu"))
    arrays, folders, frames = root / "arrays", root / "folders", root / "frames"
    arrays.mkdir()
    frames.mkdir()
    for name in NAMES:
        by_severity = [
            corrupt(batch.views, name, severity, index=batch.index, seed=0)[:, 0].numpy() for severity in range(1, 6)
        ]
        np.save(arrays / f"{name}.npy", np.concatenate(by_severity))
        for severity, views in enumerate(by_severity, 1):
            for row, (pixels, label) in enumerate(zip(views, batch.labels, strict=True)):
                folder = folders / "some" / name / str(severity) / str(label)
                folder.mkdir(parents=True, exist_ok=True)
                Image.fromarray(pixels).save(folder / f"{row}.png")
    np.save(arrays / "labels.npy", np.tile(batch.labels, 5))
    for name in STEADY:
        sequences = list(sequence(batch.views, name, index=batch.index, seed=0))
        np.save(frames / f"{name}.npy", torch.stack(sequences, dim=1).permute(0, 1, 3, 4, 2).numpy())
    return root


def robustness(given, out, settings):
    return noisystudent.robustness(
        checkpoint=given / "checkpoint", source=given / "few.npz", out=out, settings=settings, quiet=True
    )


@pytest.fixture(scope="module")
def generated(given, tmp_path_factory):
    out = tmp_path_factory.mktemp("generated")
    return out, robustness(
        given, out, {**CORRUPTIONS, **PERTURBATIONS, "evaluation.suite": "corruptions,perturbations"}
    )


def test_arrays_of_the_generated_images_have_their_results(given, generated, tmp_path):
    settings = {**CORRUPTIONS, "evaluation.corruptions_dir": str(given / "arrays")}
    result, expected = robustness(given, tmp_path, settings).corruptions, generated[1].corruptions
    assert result.errors == expected.errors
    for name in ("per_corruption", "mean", "mean_of_present", "present", "missing", "count"):
        assert getattr(result, name) == getattr(expected, name), name
    assert (result.source, expected.source) == ("published", "generated")
    assert (result.edge, result.classes_by, result.missing_classes, result.alexnet) == (16, "position", (), None)
    for entry in (f"{name}-{severity}" for name in NAMES for severity in (1, 3, 5)):
        tables = [pq.read_table(folder / f"corruptions/{entry}.parquet") for folder in (tmp_path, generated[0])]
        assert tables[0].equals(tables[1]), entry


def test_folders_of_the_generated_images_have_their_errors(given, generated, tmp_path):
    settings = {"evaluation.suite": "corruptions,calibration", "evaluation.corruptions_dir": str(given / "folders")}
    result = robustness(given, tmp_path, settings)
    assert result.corruptions.errors == {
        name: generated[1].corruptions.errors[name] for name in sorted(NAMES, key=TEST_CORRUPTIONS.index)
    }
    assert result.corruptions.classes_by == "name"
    assert set(result.calibration.corrupted) == {1, 2, 3, 4, 5}


def test_sequences_of_the_generated_frames_are_as_steady(given, generated, tmp_path):
    settings = {**PERTURBATIONS, "evaluation.perturbations_dir": str(given / "frames")}
    result, expected = robustness(given, tmp_path, settings).perturbations, generated[1].perturbations
    assert result.source == "published"
    assert result.count == 30
    for name in STEADY:
        assert asdict(result.perturbations[name]) == pytest.approx(asdict(expected.perturbations[name]))
    assert result.missing == expected.missing
    few = {**PERTURBATIONS, "evaluation.perturbations_dir": str(given / "frames"), "evaluation.max_images": 5}
    assert robustness(given, tmp_path / "few", few).perturbations.count == 5


def test_noise_of_a_difficulty_is_another_file(given, tmp_path):
    settings = {
        "evaluation.suite": ["perturbations"],
        "evaluation.perturbations_dir": str(tmp_path),
        "evaluation.difficulty": 2,
    }
    frames = np.load(given / "frames/rotate.npy")
    np.save(tmp_path / "rotate.npy", frames)
    np.save(tmp_path / "shot_noise.npy", frames)
    np.save(tmp_path / "gaussian_noise_2.npy", frames)
    np.save(tmp_path / "hail.npy", frames)
    out = tmp_path.with_name("out")
    result = robustness(given, out, settings).perturbations
    assert list(result.perturbations) == ["gaussian_noise", "rotate"]  # shot noise has difficulty 1 alone
    assert result.ignored == ("hail",)
    with pytest.raises(DataError, match=r"names 'shot_noise' at difficulty 2, and .* has no 'shot_noise_2'"):
        robustness(given, out, {**settings, "evaluation.perturbations": ["shot_noise"]})


class Bordered(nn.Module):
    """Whether an image's outermost row is bright."""

    def forward(self, pixels):
        border = pixels[:, 0, 0, :].mean(dim=1)
        return torch.stack([border - 0.5, 0.5 - border], dim=1)


@pytest.mark.parametrize("size", [224, 112])
def test_images_are_seen_to_their_edges(tmp_path, size):
    """A border of 8 px of 224 is left off by the view of other images, and not of published ones."""
    framed = np.zeros((224, 224, 3), np.uint8)
    framed[:8], framed[-8:], framed[:, :8], framed[:, -8:] = (255,) * 4
    for folder in ("clean", "set/fog/1"):
        for name, pixels in (("framed", framed), ("plain", np.zeros_like(framed))):
            (tmp_path / folder / name).mkdir(parents=True)
            Image.fromarray(pixels).save(tmp_path / folder / name / "0.png")
    predictor = Predictor.of_module(Bordered().eval(), classes=("framed", "plain"), size=size)
    dataset = EvalDataset.of_source(FolderSource(tmp_path / "clean", labeled=True), predictor.format)
    settings = EvaluationSettings(suite=("corruptions",), corruptions_dir=str(tmp_path / "set"))
    result = measure(predictor, dataset, settings, tmp_path / "out", Reporter(quiet=True))
    assert result.clean.top1 == 0.5
    assert result.corruptions.errors == {"fog": {1: 0.0}}
    assert result.corruptions.edge == 224
    assert "fog at severity 2, 3, 4, 5" in result.corruptions.missing


class FirstPixel(nn.Module):
    """The class that an image's first pixel names."""

    def forward(self, pixels):
        return nn.functional.one_hot((pixels[:, 0, 0, 0] * 255).round().long() % 2, 2).float()


def labeled_images(errors, rows=20):
    """``rows`` images of classes 0 and 1 in turn, of which so many name the other class: [rows, 8, 8]."""
    named = np.arange(rows) % 2 ^ (np.arange(rows) < errors)
    return np.broadcast_to(named[:, None, None], (rows, 8, 8)).astype(np.uint8)


@pytest.fixture
def imagenet(tmp_path, monkeypatch):
    """A set of all 75 conditions whose errors are known, of two classes that count as all of ImageNet's."""
    monkeypatch.setattr(published_corruptions, "imagenet_synsets", lambda: ("n01", "n02"))
    monkeypatch.setattr(published_corruptions, "_IMAGENET_EDGE", 8)
    errors = {name: [(3 * rank + s) % 11 for s in range(5)] for rank, name in enumerate(TEST_CORRUPTIONS)}
    for name, by_severity in errors.items():
        np.save(tmp_path / f"{name}.npy", np.concatenate([labeled_images(count) for count in by_severity]))
    np.save(tmp_path / "labels.npy", np.arange(100) % 2)
    np.savez(tmp_path / "clean.npz", x=labeled_images(2), y=np.arange(20) % 2, classes=np.array(["n01", "n02"]))
    predictor = Predictor.of_module(FirstPixel().eval(), classes=("n01", "n02"), size=8, channels=1)
    dataset = EvalDataset.of_source(open_source(str(tmp_path / "clean.npz"), labeled=True), predictor.format)

    def take(out, **changes):
        settings = EvaluationSettings(suite=("corruptions",), corruptions_dir=str(tmp_path), **changes)
        return measure(predictor, dataset, settings, tmp_path / out, Reporter(quiet=True)).corruptions

    return errors, take


def test_all_of_imagenet_is_compared_with_alexnet(imagenet):
    errors, take = imagenet
    result = take("out")
    means = {name: np.mean(by_severity) / 20 for name, by_severity in errors.items()}
    assert result.mean == pytest.approx(np.mean(list(means.values())))
    ces = [100 * means[name] / ALEXNET_ERRORS[name] for name in TEST_CORRUPTIONS]
    relative = [100 * (means[name] - 0.1) / (ALEXNET_ERRORS[name] - ALEXNET_CLEAN_ERROR) for name in TEST_CORRUPTIONS]
    assert result.alexnet.mean_corruption_error == pytest.approx(np.mean(ces))
    assert result.alexnet.relative_mean_corruption_error == pytest.approx(np.mean(relative))
    assert list(result.alexnet.corruption_errors.values()) == pytest.approx(ces)
    assert result.alexnet.clean_error == pytest.approx(0.1)
    assert result.alexnet.clean_source.endswith("clean.npz")


@pytest.mark.parametrize(
    ("name", "value"), [("imagenet_synsets", lambda: ("n01", "n02", "n03")), ("_IMAGENET_EDGE", 224)]
)
def test_other_sets_are_not_compared_with_alexnet(imagenet, monkeypatch, name, value):
    _, take = imagenet
    monkeypatch.setattr(published_corruptions, name, value)
    result = take("out")
    assert result.mean is not None
    assert result.alexnet is None


def test_nor_are_parts_of_it(imagenet, tmp_path):
    _, take = imagenet
    result = take("severities", severities=(1, 2, 3, 4))
    assert (result.mean, result.alexnet) == (None, None)
    (tmp_path / "fog.npy").unlink()
    result = take("out")
    assert (result.mean, result.alexnet, result.missing) == (None, None, ("fog",))
    np.save(tmp_path / "labels.npy", np.zeros(100, int))
    np.save(tmp_path / "fog.npy", np.load(tmp_path / "snow.npy"))
    result = take("labels")
    assert (result.mean, result.alexnet, result.missing) == (None, None, ())
    assert result.missing_classes == ("n02",)  # of every condition


def test_classes_without_images_are_named(given, tmp_path):
    for severity, digits in ((1, "0123456789"), (2, "012345678"), (3, "012")):
        for digit in digits:
            folder = tmp_path / "set/fog" / str(severity) / digit
            folder.mkdir(parents=True)
            Image.fromarray(np.full((16, 16), 20 * int(digit), np.uint8)).save(folder / "0.png")
    settings = {"evaluation.suite": ["corruptions"], "evaluation.corruptions_dir": str(tmp_path / "set")}
    result = robustness(given, tmp_path / "out", settings).corruptions
    assert result.missing_classes == {"fog-2": ("9",), "fog-3": tuple("3456789")}
    assert result.counts == {"fog": {1: 10, 2: 9, 3: 3}}
    assert result.count is None
    stranger = tmp_path / "set/fog/3/ten"
    stranger.mkdir()
    Image.fromarray(np.zeros((16, 16), np.uint8)).save(stranger / "0.png")
    with pytest.raises(DataError, match="class 'ten' is unknown to the model, which has 10 classes"):
        robustness(given, tmp_path / "other", settings)


def test_what_is_named_and_missing_is_reported(given, tmp_path):
    settings = {"evaluation.suite": ["corruptions"], "evaluation.corruptions_dir": str(given / "folders")}
    with pytest.raises(DataError, match=r"names 'contrst', which is not in .*Did you mean 'contrast'"):
        robustness(given, tmp_path, {**settings, "evaluation.corruptions": ["contrst"]})
    frames = {"evaluation.suite": ["perturbations"], "evaluation.perturbations_dir": str(given / "folders")}
    with pytest.raises(DataError, match="gaussian_noise' holds no videos"):
        robustness(given, tmp_path, frames)


def test_a_condition_that_changed_is_refused_and_others_are_kept(given, tmp_path, monkeypatch):
    for name in NAMES:
        np.save(tmp_path / f"{name}.npy", np.load(given / f"arrays/{name}.npy"))
    np.save(tmp_path / "labels.npy", np.load(given / "arrays/labels.npy"))
    settings = {**CORRUPTIONS, "evaluation.corruptions_dir": str(tmp_path)}
    first = robustness(given, tmp_path / "out", settings)
    changed = np.load(tmp_path / "contrast.npy")
    changed[-1] ^= 255  # the last image of severity 5
    np.save(tmp_path / "contrast.npy", changed)
    with pytest.raises(MismatchError, match=r"contrast-5\.parquet was measured on other images"):
        robustness(given, tmp_path / "out", settings)
    entry = tmp_path / "out/corruptions/contrast-5.parquet"
    entry.unlink()
    sizes = []
    predict = Predictor.log_probabilities_of_views
    monkeypatch.setattr(
        Predictor, "log_probabilities_of_views", lambda self, views: sizes.append(len(views)) or predict(self, views)
    )
    again = robustness(given, tmp_path / "out", settings)
    assert sizes == [30]  # the images of one condition
    assert again.corruptions.errors["gaussian_noise"] == first.corruptions.errors["gaussian_noise"]
    with pytest.raises(MismatchError, match="what differs: source"):
        robustness(given, tmp_path / "out", CORRUPTIONS)


def test_a_baseline_has_100(given, generated, tmp_path):
    baseline = generated[0] / "robustness.json"
    settings = {**CORRUPTIONS, **PERTURBATIONS, "evaluation.suite": "corruptions,perturbations"}
    result = robustness(given, generated[0], {**settings, "evaluation.baseline": str(baseline)})
    for rates in result.perturbations.relative.perturbations.values():
        assert asdict(rates) == pytest.approx({"flip_probability": 100, "top5_distance": 100})
    assert result.perturbations.relative.mean_flip_rate is None  # two of ten
    assert result.corruptions.relative_to_baseline.corruption_errors == pytest.approx(dict.fromkeys(NAMES, 100))
    other = json.loads(baseline.read_text())
    other["model"] = "AlexNet"
    other["perturbations"]["perturbations"]["rotate"]["flip_probability"] *= 4
    other["corruptions"]["per_corruption"]["contrast"] /= 2
    (tmp_path / "other.json").write_text(json.dumps(other))
    result = robustness(given, generated[0], {**settings, "evaluation.baseline": str(tmp_path / "other.json")})
    stability, errors = result.perturbations.relative, result.corruptions.relative_to_baseline
    assert stability.baseline == errors.baseline == "AlexNet"
    assert stability.perturbations["rotate"].flip_probability == pytest.approx(25)
    assert errors.corruption_errors["contrast"] == pytest.approx(200)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (
            lambda content: content["perturbations"].update(difficulty=2),
            MismatchError,
            "difficulty is 2 there and 1 here",
        ),
        (
            lambda content: content["perturbations"].update(source="published"),
            MismatchError,
            "source is 'published' there",
        ),
        (lambda content: content["perturbations"].update(table=64), MismatchError, "table is 64 there and 32 here"),
        (lambda content: content["perturbations"]["perturbations"].pop("rotate"), MismatchError, "lacks rotate"),
        (lambda content: content.pop("perturbations"), ArtifactError, "Measure it with --suite perturbations"),
        (
            lambda content: content["perturbations"]["perturbations"]["rotate"].update(flip_probability=0),
            DataError,
            "it must be above 0",
        ),
    ],
)
def test_a_baseline_of_another_kind_is_refused(given, generated, tmp_path, change, error, message):
    content = json.loads((generated[0] / "robustness.json").read_text())
    change(content)
    (tmp_path / "baseline.json").write_text(json.dumps(content))
    with pytest.raises(error, match=message):
        robustness(given, generated[0], {**PERTURBATIONS, "evaluation.baseline": str(tmp_path / "baseline.json")})


def test_the_ten_have_a_mean_flip_rate(given, tmp_path):
    """All of the ten, from files that are one: mFR and mT5D are ratios of sums then, not means of unlike ratios."""
    from noisystudent.evaluation.corruptions.tables import TEST_PERTURBATIONS

    for name in TEST_PERTURBATIONS:
        (tmp_path / f"{name}.npy").symlink_to(given / "frames/rotate.npy")
    settings = {"evaluation.suite": ["perturbations"], "evaluation.perturbations_dir": str(tmp_path)}
    content = to_json(robustness(given, tmp_path / "out", settings))
    for rank, stability in enumerate(content["perturbations"]["perturbations"].values(), 1):
        stability["flip_probability"] *= rank
        stability["top5_distance"] *= 2
    (tmp_path / "baseline.json").write_text(json.dumps(content))
    settings["evaluation.baseline"] = str(tmp_path / "baseline.json")
    relative = robustness(given, tmp_path / "out", settings).perturbations.relative
    assert relative.mean_flip_rate == pytest.approx(100 * sum(1 / rank for rank in range(1, 11)) / 10)
    assert relative.mean_top5_distance == pytest.approx(50)


def test_the_command_prints_what_is_published(given, tmp_path, capsys):
    words = ["evaluate", f"--checkpoint={given / 'checkpoint'}", f"--source={given / 'few.npz'}", f"--out={tmp_path}"]
    words += ["--suite=corruptions,perturbations", f"--evaluation.perturbations_dir={given / 'frames'}"]
    assert main([*words, f"--evaluation.corruptions_dir={given / 'folders'}"]) == 0
    printed = capsys.readouterr().out
    assert f"(published, {given / 'folders'})" in printed
    assert f"(published, {given / 'frames'})" in printed
    assert "none of all 15: there is no shot_noise" in printed
    baseline = f"--evaluation.baseline={tmp_path / 'robustness.json'}"
    assert main([*words, f"--evaluation.corruptions_dir={given / 'folders'}", baseline]) == 0
    assert "checkpoint has 100" in capsys.readouterr().out
    assert main([*words, f"--evaluation.corruptions_dir={tmp_path / 'corruptions'}"]) == 1
    assert "holds no part of a published set" in capsys.readouterr().err


def test_models_are_compared_on_a_published_set(given, tmp_path, capsys):
    words = ["compare", str(given / "checkpoint"), str(given / "checkpoint"), f"--source={given / 'few.npz'}"]
    words += [f"--evaluation.corruptions_dir={given / 'folders'}", f"--out={tmp_path}"]
    assert main(words) == 0
    comparison = json.loads((tmp_path / "comparison.json").read_text())
    (difference,) = comparison["differences"].values()
    assert difference["corruptions"] == {"difference": 0.0, "interval": [0.0, 0.0], "conditions": 10}
