"""The evaluate command with a temperature that is fitted on other images than the scored ones."""

import json
import re

import numpy as np
import pytest
from scipy.optimize import minimize_scalar
from scipy.special import softmax
from sklearn.datasets import load_digits
from sklearn.metrics import log_loss

import noisystudent
from noisystudent.commands.main import main
from noisystudent.data.images import decode_source
from noisystudent.data.sources.open import open_source
from noisystudent.errors import DataError, SettingsError
from noisystudent.evaluation import map_shards as mapping
from noisystudent.models.load_predictor import load

SCORES = ["top1", "count", "top5", "ece", "nll", "brier", "per_class", "confusion", "calibration"]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """A model that learned from forty digits."""
    out = tmp_path_factory.mktemp("models") / "teacher"
    quick = {"train.steps": 80, "train.batch_size": 40, "noise.strength": 0.0, "data.size": 8}
    noisystudent.train(labeled="digits:labeled", out=out, settings=quick, quiet=True)
    return out


@pytest.fixture(scope="module")
def answers(checkpoint):
    """Log-probabilities and labels by source, from one pass over all images."""
    predictor = load(checkpoint)

    def of(spec: str) -> tuple[np.ndarray, np.ndarray]:
        images = decode_source(
            open_source(spec, labeled=True), predictor.format, max_corrupt_fraction=0, memory_limit_gb=1
        )
        return predictor.log_probabilities(images).astype(np.float64), images.labels

    return {spec: of(spec) for spec in ("digits:test", "digits:unlabeled")}


def likelihood(values: np.ndarray, labels: np.ndarray, temperature: float) -> float:
    return log_loss(labels, softmax(values / temperature, axis=1), labels=range(10))


def test_the_command_line_scores_digits_with_a_temperature_from_other_digits(checkpoint, answers, tmp_path, capsys):
    words = ["evaluate", "--checkpoint", str(checkpoint), "--source", "digits:test", "--out", str(tmp_path / "s.json")]
    assert main(words) == 0
    plain = json.loads((tmp_path / "s.json").read_text())
    assert list(plain) == [*SCORES, "classes", "unreadable", "training_images", "temperature_scaling", "by_size"]
    assert (plain.pop("classes"), plain.pop("unreadable"), plain.pop("temperature_scaling")) == ("", {}, None)
    assert (plain.pop("training_images"), plain.pop("by_size")) == (0, [])
    assert "temperature" not in capsys.readouterr().out

    assert main([*words, "--calibrate", "digits:unlabeled"]) == 0
    scores = json.loads((tmp_path / "s.json").read_text())
    scaled = scores.pop("temperature_scaling")
    assert {name: scores[name] for name in SCORES} == plain
    assert (scaled["source"], scaled["at_end"]) == ("digits:unlabeled", False)
    assert (scaled["count"], scaled["left_out"]) == (1257, 0)

    # The same by another optimizer and scikit-learn's likelihood.
    fitted = minimize_scalar(lambda log: likelihood(*answers["digits:unlabeled"], np.exp(log)), bounds=(-3, 3))
    assert scaled["temperature"] == pytest.approx(np.exp(fitted.x), rel=1e-4)
    values, labels = answers["digits:test"]
    assert scaled["nll"] == pytest.approx(likelihood(values, labels, scaled["temperature"]), rel=1e-5)
    gaps = softmax(values / scaled["temperature"], axis=1) - np.eye(10)[labels]
    assert scaled["brier"] == pytest.approx((gaps**2).sum(axis=1).mean(), rel=1e-5)
    assert scaled["nll"] < plain["nll"]

    printed = capsys.readouterr().out
    for name in ("ece", "nll", "brier"):
        line = f"{name:<6} {plain[name]:.4f} -> {scaled[name]:.4f} at temperature {scaled['temperature']:.2f}"
        assert line in printed.splitlines()
    assert re.search(rf"^top1 +{plain['top1']:.4f}$", printed, re.MULTILINE)
    assert f"temperature fitted on {scaled['count']} images of digits:unlabeled" in printed


def test_the_scored_source_is_refused_before_anything_is_predicted(checkpoint, monkeypatch, capsys):
    monkeypatch.setattr(mapping, "decode_shard", None)
    words = ["evaluate", "--checkpoint", str(checkpoint), "--source", "digits:test", "--calibrate", "digits:test@0"]
    assert main(words) == 2
    error = capsys.readouterr().err
    assert "--calibrate 'digits:test' has no images but those of --source 'digits:test'" in error


def digits_file(path, rows):
    digits = load_digits()
    images = np.rint(digits.images * (255 / 16)).astype(np.uint8)
    np.savez(path, x=images[rows], y=digits.target[rows], classes=[str(k) for k in range(10)])
    return path


def test_the_scored_images_under_other_names_are_refused_too(checkpoint, tmp_path):
    scored = digits_file(tmp_path / "scored.npz", np.arange(100))
    backwards = digits_file(tmp_path / "backwards.npz", np.arange(100)[::-1])
    with pytest.raises(SettingsError, match="has no images but those of --source"):
        noisystudent.evaluate(checkpoint=checkpoint, source=scored, calibrate=backwards)


def test_images_that_are_scored_are_left_out_of_the_fit(checkpoint, tmp_path, capsys):
    scored = digits_file(tmp_path / "scored.npz", np.arange(100))
    learned = {int(record.key[-4:]) for record in open_source("digits:labeled", labeled=True).read(0)}
    others = [row for row in range(100, 400) if row not in learned]
    apart = digits_file(tmp_path / "apart.npz", others)
    both = digits_file(tmp_path / "both.npz", [*range(100), *others])
    pixels = {row: image.tobytes() for row, image in enumerate(load_digits().images)}
    assert not {pixels[row] for row in range(100)} & {pixels[row] for row in range(100, 400)}
    clean, mixed = (
        noisystudent.evaluate(checkpoint=checkpoint, source=scored, calibrate=given).temperature_scaling
        for given in (apart, both)
    )
    assert (clean.count, clean.left_out) == (len(others), 0)
    assert (mixed.count, mixed.left_out) == (len(others), 100)
    assert mixed.temperature == pytest.approx(clean.temperature, rel=1e-6)
    words = ["evaluate", "--checkpoint", str(checkpoint), "--source", str(scored), "--calibrate", str(both)]
    assert main(words) == 0
    assert "note: 100 more were left out" in capsys.readouterr().out


def test_a_temperature_at_the_end_of_its_range_is_marked(checkpoint, tmp_path, capsys):
    predictor = load(checkpoint)
    source = open_source("digits:unlabeled", labeled=True)
    images = decode_source(source, predictor.format, max_corrupt_fraction=0, memory_limit_gb=1)
    right = np.flatnonzero(predictor.log_probabilities(images).argmax(axis=1) == images.labels)
    assert len(right)
    rows = [int(images.keys[row].removeprefix("digit-")) for row in right]
    easy = digits_file(tmp_path / "easy.npz", rows)
    words = ["evaluate", "--checkpoint", str(checkpoint), "--source", "digits:test", "--calibrate", str(easy)]
    assert main([*words, "--out", str(tmp_path / "s.json")]) == 0
    scaled = json.loads((tmp_path / "s.json").read_text())["temperature_scaling"]
    assert (scaled["temperature"], scaled["at_end"]) == (0.05, True)
    assert "at the end of its range" in capsys.readouterr().out


def test_a_calibration_source_of_other_classes_is_refused(checkpoint, tmp_path):
    path = tmp_path / "two.npz"
    np.savez(path, x=np.zeros((2, 8, 8), np.uint8), y=[0, 1], classes=["a", "b"])
    with pytest.raises(DataError, match=r"The calibration source has .* unknown to the model"):
        noisystudent.evaluate(checkpoint=checkpoint, source="digits:test", calibrate=path)
