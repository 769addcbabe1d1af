"""Robustness on generated images: the measures against their parts; finished entries are not measured again."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from torch import nn

import noisystudent
from noisystudent.artifacts.typed_json import read_result
from noisystudent.commands.main import main
from noisystudent.data.sources.open import open_source
from noisystudent.errors import DataError, MismatchError, ModelError, SettingsError
from noisystudent.evaluation import compare
from noisystudent.evaluation.adversarial.attacks import attack_images, fgsm
from noisystudent.evaluation.corruptions.generate import corrupt
from noisystudent.evaluation.eval_dataset import EvalDataset, address_of
from noisystudent.evaluation.perturbations.generate import sequence
from noisystudent.evaluation.results import RobustnessResult
from noisystudent.models.checkpoint import load_classifier
from noisystudent.models.classifier import UnitPixels
from noisystudent.models.predictor import Predictor
from noisystudent.noise.crop import PlainView
from noisystudent.runtime.settings import RuntimeSettings
from robustness_examples import robustness
from suite_images import learned_a_little

NAMES = ("gaussian_noise", "contrast")
SUITE = {
    "evaluation.suite": ["corruptions", "perturbations", "attacks"],
    "evaluation.corruptions": list(NAMES),
    "evaluation.severities": [1, 5],
    "evaluation.perturbations": ["gaussian_noise", "rotate"],
    "evaluation.epsilons": [0, 8],
    "evaluation.attack_steps": 2,
}


@pytest.fixture(scope="module")
def given(tmp_path_factory):
    """A checkpoint for digits of 16 px that has learned a little, and 24 images of them."""
    return learned_a_little(tmp_path_factory.mktemp("given"), count=24, every=20)


@pytest.fixture(scope="module")
def measured(given, tmp_path_factory):
    checkpoint, source = given
    out = tmp_path_factory.mktemp("measured")
    return out, noisystudent.robustness(checkpoint=checkpoint, source=source, out=out, settings=SUITE, quiet=True)


def batch_of(given):
    checkpoint, source = given
    predictor = Predictor.open(checkpoint, RuntimeSettings())
    (batch,) = EvalDataset.of_source(open_source(source, labeled=True), predictor.format).batches(
        PlainView(16), torch.device("cpu")
    )
    return predictor, batch


def test_errors_are_those_of_the_corrupted_views(given, measured):
    predictor, batch = batch_of(given)
    classifier = load_classifier(given[0])
    for name in NAMES:
        for severity in (1, 5):
            views = corrupt(batch.views, name, severity, index=batch.index, seed=0)
            with torch.no_grad():
                wrong = classifier(views).argmax(dim=1).numpy() != batch.labels
            assert measured[1].corruptions.errors[name][severity] == pytest.approx(wrong.mean())
    with torch.no_grad():
        correct = classifier(batch.views).argmax(dim=1).numpy() == batch.labels
    assert measured[1].clean.top1 == pytest.approx(correct.mean())
    assert predictor.size == measured[1].attacks.image[1] == 16


def test_a_mean_over_a_part_of_the_set_is_not_given_its_name(measured):
    corruptions = measured[1].corruptions
    assert corruptions.mean is None
    assert corruptions.per_corruption == {}  # severities 2 to 4 were not measured
    assert "contrast at severity 2, 3, 4" in corruptions.missing
    assert "snow" in corruptions.missing
    assert corruptions.source == "generated"
    assert measured[1].perturbations.mean_flip_probability is None


def test_flips_are_counted_over_the_frames(given, measured):
    _, batch = batch_of(given)
    classifier = load_classifier(given[0])
    for name in ("gaussian_noise", "rotate"):
        with torch.no_grad():
            answers = torch.stack(
                [classifier(frame).argmax(dim=1) for frame in sequence(batch.views, name, index=batch.index, seed=0)]
            )
        flips = answers[1:] != (answers[:1] if name == "gaussian_noise" else answers[:-1])
        stability = measured[1].perturbations.perturbations[name]
        assert stability.flip_probability == pytest.approx(float(flips.float().mean()))
        assert stability.sequences == 24


def test_accuracy_under_attack_is_that_of_the_attacked_images(given, measured):
    _, batch = batch_of(given)
    model = UnitPixels(load_classifier(given[0])).eval()
    labels = torch.from_numpy(batch.labels)
    fooled = attack_images(model, batch.views.float() / 255, labels, fgsm(8 / 255)).fooled
    clean, strong = measured[1].attacks.curve
    assert clean.fgsm == clean.pgd == measured[1].attacks.clean == measured[1].clean.top1
    assert strong.fgsm == pytest.approx(1 - float(fooled.float().mean()))


def test_finished_entries_are_not_measured_again(given, measured, monkeypatch):
    out, first = measured
    asked = []
    monkeypatch.setattr(Predictor, "log_probabilities_of_views", lambda *_: asked.append(1))
    checkpoint, source = given
    assert noisystudent.robustness(checkpoint=checkpoint, source=source, out=out, settings=SUITE, quiet=True) == first
    assert not asked
    assert read_result(RobustnessResult, out / "robustness.json") == first


def test_a_wider_suite_measures_only_what_is_new(given, measured):
    out, _ = measured
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*.parquet")}
    more = {**SUITE, "evaluation.corruptions": [*NAMES, "brightness"], "evaluation.severities": [1, 2, 3, 4, 5]}
    checkpoint, source = given
    wider = noisystudent.robustness(checkpoint=checkpoint, source=source, out=out, settings=more, quiet=True)
    assert set(wider.corruptions.per_corruption) == {*NAMES, "brightness"}
    assert wider.corruptions.mean_of_present == pytest.approx(np.mean(list(wider.corruptions.per_corruption.values())))
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_entries_of_another_seed_are_refused(given, measured):
    checkpoint, source = given
    with pytest.raises(MismatchError, match="measured differently; what differs: seed: 0 -> 1"):
        noisystudent.robustness(
            checkpoint=checkpoint, source=source, out=measured[0], settings={**SUITE, "evaluation.seed": 1}, quiet=True
        )


def test_the_corruption_of_an_image_does_not_depend_on_its_batch(given):
    predictor, all_of_them = batch_of(given)
    few = EvalDataset.of_source(open_source(given[1], labeled=True), predictor.format, max_images=5)
    (part,) = few.batches(PlainView(16), torch.device("cpu"))
    assert few.count == len(part.labels) == 5
    rows = [all_of_them.index.tolist().index(address) for address in part.index.tolist()]
    assert torch.equal(all_of_them.views[rows], part.views)
    assert address_of("a") != address_of("b")
    assert 0 <= address_of("a") < 2**62


def test_images_that_cannot_be_read_are_no_more_than_allowed(given, tmp_path):
    for number in range(10):
        folder = tmp_path / "images" / str(number)
        folder.mkdir(parents=True)
        Image.fromarray(np.full((16, 16), 20 * number, np.uint8)).save(folder / "good.png")
    (folder / "bad.png").write_bytes(b"no image")
    settings = {"evaluation.suite": ["attacks"], "evaluation.epsilons": [1], "evaluation.attack_steps": 1}
    with pytest.raises(DataError, match=r"9/bad\.png"):
        noisystudent.robustness(
            checkpoint=given[0], source=tmp_path / "images", out=tmp_path / "a", settings=settings, quiet=True
        )
    result = noisystudent.robustness(
        checkpoint=given[0], source=tmp_path / "images", out=tmp_path / "b",
        settings={**settings, "data.max_corrupt_fraction": 0.2}, quiet=True,
    )  # fmt: skip
    assert result.count == result.attacks.count == 10


def test_any_module_is_measured_as_it_is(given):
    class Bright(nn.Module):
        def forward(self, pixels):
            mean = pixels.mean(dim=(1, 2, 3))
            return torch.stack([mean - 0.5, 0.5 - mean], dim=1)

    predictor = Predictor.of_module(Bright().eval(), classes=("light", "dark"), size=16, channels=1)
    values = predictor.log_probabilities_of_views(torch.full((3, 1, 16, 16), 250, dtype=torch.uint8))
    assert values.argmax(axis=1).tolist() == [0, 0, 0]
    with pytest.raises(ModelError, match="training mode"):
        Predictor.of_module(Bright().train(), classes=("light", "dark"), size=16, channels=1)
    with pytest.raises(ModelError, match="3 classes are named"):
        Predictor.of_module(Bright().eval(), classes=("light", "dark", "gray"), size=16, channels=1)


def test_the_command_prints_all_of_it_and_goes_on_in_its_folder(given, tmp_path, capsys):
    checkpoint, source = given
    words = ["evaluate", f"--checkpoint={checkpoint}", f"--source={source}", "--suite=corruptions,attacks"]
    words += ["--evaluation.corruptions=contrast", "--evaluation.severities=1", "--evaluation.epsilons=2"]
    assert main([*words, f"--out={tmp_path}"]) == 0
    printed = capsys.readouterr().out
    assert "top1" in printed
    assert "contrast" in printed
    assert "epsilon     2/255" in printed
    assert "none of all 15" in printed
    assert {"scores.json", "robustness.json"} <= {path.name for path in tmp_path.iterdir()}
    assert main(words) == 2
    assert "give --out FOLDER" in capsys.readouterr().err


def test_a_comparison_is_paired_and_a_model_equals_itself(given, tmp_path, capsys):
    checkpoint, source = given
    other = tmp_path / "<b>other"
    shutil.copytree(checkpoint, other)
    words = [f"--source={source}", "--suite=corruptions,attacks", f"--out={tmp_path / 'out'}"]
    words += ["--evaluation.corruptions=[contrast,fog]", "--evaluation.severities=[1,3]", "--evaluation.epsilons=[1,4]"]
    assert main(["compare", str(checkpoint), str(other), *words]) == 0
    printed = capsys.readouterr().out
    assert "0.0 (0.0 to 0.0)" in printed
    comparison = json.loads((tmp_path / "out/comparison.json").read_text())
    (difference,) = comparison["differences"].values()
    assert difference["corruptions"] == {"difference": 0.0, "interval": [0.0, 0.0], "conditions": 4}
    assert difference["clean"]["p_value"] == 1.0
    assert set(difference["by_severity"]) == {"1", "3"}
    page = (tmp_path / "out/comparison.html").read_text()
    assert page.count("<svg") == 4
    assert "<b>other" not in page
    assert main(["compare", str(checkpoint), *words]) == 2
    assert "at least 2 checkpoints" in capsys.readouterr().err


def test_differences_are_means_over_images_of_their_conditions(tmp_path):
    random = np.random.default_rng(0)
    folders = {}
    table = {}
    for name in ("one", "two"):
        folders[name] = tmp_path / name
        for entry in ("clean", "corruptions/fog-1", "corruptions/fog-2", "corruptions/fog-3"):  # the last is older
            correct = random.random(200) < 0.7
            table[name, entry] = correct
            path = tmp_path / name / f"{entry}.parquet"
            path.parent.mkdir(parents=True, exist_ok=True)
            pq.write_table(pa.table({"correct": correct, "confidence": np.ones(200, np.float32)}), path)
        content = robustness(rank=0)
        content["corruptions"]["errors"] = {"fog": {"1": 0.3, "2": 0.3}}
        (tmp_path / name / "robustness.json").write_text(json.dumps(content))
    difference = compare.comparison(folders).differences["two"]
    expected = np.mean(
        [table["two", p].mean() - table["one", p].mean() for p in ("corruptions/fog-1", "corruptions/fog-2")]
    )
    assert difference.corruptions.difference == pytest.approx(expected)
    # The percentile interval is about 1.96 standard errors of the images' means to either side.
    by_image = np.mean(
        [table["two", p].astype(int) - table["one", p].astype(int) for p in ("corruptions/fog-1", "corruptions/fog-2")],
        axis=0,
    )
    error = by_image.std() / np.sqrt(200)
    low, high = difference.corruptions.interval
    assert (high - low) / 2 == pytest.approx(1.96 * error, rel=0.1)
    assert difference.by_severity[1].difference == pytest.approx(
        table["two", "corruptions/fog-1"].mean() - table["one", "corruptions/fog-1"].mean()
    )


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"evaluation.corruptions": ["fogg"]}, SettingsError, "names 'fogg'.*fog"),
        ({"evaluation.perturbations": ["rotat"]}, SettingsError, "names 'rotat'.*rotate"),
        ({"evaluation.severities": [6]}, SettingsError, "give a whole number from 1 to 5"),
        ({"evaluation.epsilons": [1, 1]}, SettingsError, "holds a value twice"),
        ({"evaluation.corruptions": ["frost"], "evaluation.frost_textures": "no/such"}, DataError, "frost|textures"),
    ],
)
def test_what_cannot_be_measured_is_reported(given, tmp_path, changes, error, message):
    checkpoint, source = given
    with pytest.raises(error, match=message):
        noisystudent.robustness(
            checkpoint=checkpoint, source=source, out=tmp_path, settings={**SUITE, **changes}, quiet=True
        )


def test_memory_holds_a_shard_and_not_the_source(given):
    """Views come a few at a time, from a source that is decoded shard by shard."""
    predictor = Predictor.open(given[0], RuntimeSettings())
    dataset = EvalDataset.of_source(open_source("digits", labeled=True), predictor.format)
    sizes = [len(batch.labels) for batch in dataset.batches(PlainView(16), torch.device("cpu"))]
    assert sum(sizes) == 1797
    assert max(sizes) <= 512
