"""``fix``: a trained model is adapted to a larger size, resumes to the same bits, and timm sees it as we do."""

import json

import pytest
import timm
import torch
from safetensors.torch import load_file
from timm.data import resolve_model_data_config

import noisystudent as ns
from noisystudent.commands.main import main
from noisystudent.errors import DataError, ModelError, SettingsError
from noisystudent.models.checkpoint import load_classifier, save_classifier
from noisystudent.models.classifier import create_classifier
from noisystudent.models.predictor import Predictor
from noisystudent.pipeline.fix import stage as fix_stage
from noisystudent.runtime.settings import RuntimeSettings
from small_backbone import save_backbone
from small_runs import DIGITS
from training_setup import Killed

TRAIN = {
    "train.steps": 60, "train.batch_size": 32, "train.learning_rate": 5e-3, "model.teacher": "tiny_resnet",
    "noise.crop": "resized", "noise.strength": 1.0, "runtime.threads": 1, "data.near_duplicates": "none",
}  # fmt: skip
QUICK = {"fix.epochs": 40.0, "fix.batch_size": 20, "runtime.threads": 1}
LABELED = "digits:labeled"


@pytest.fixture(scope="module")
def given(tmp_path_factory):
    return ns.train(LABELED, out=tmp_path_factory.mktemp("given") / "model", settings=TRAIN, quiet=True).folder


@pytest.fixture(scope="module")
def fixed(given, tmp_path_factory):
    out = tmp_path_factory.mktemp("fixed") / "model"
    result = ns.fix(LABELED, checkpoint=given, out=out, validation="digits:test", settings=QUICK, quiet=True)
    return out, result


def test_the_size_follows_from_the_crops_of_the_training(given, fixed):
    config = json.loads((given / "config.json").read_text())
    assert config["noisystudent"]["trained_area"] == pytest.approx(0.08)
    out, result = fixed
    assert (result.trained_size, result.size) == (8, 12)
    assert (result.ratio_before, result.ratio) == (pytest.approx(0.708, abs=1e-3), pytest.approx(1.062, abs=1e-3))
    assert json.loads((out.parent / f"{out.name}.scores" / "resolution.json").read_text())["size"] == 12


def test_scores_are_those_of_evaluate_at_each_size(given, fixed, tmp_path):
    out, result = fixed
    before = ns.evaluate(checkpoint=given, source="digits:test", sizes=(12, 8), out=tmp_path / "scores.json")
    after = ns.evaluate(checkpoint=out, source="digits:test")
    rows = {(row.size, row.fixed): row.validation.top1 for row in result.scores}
    assert rows == {(8, False): before.top1, (12, False): before.by_size[1].top1, (12, True): after.top1}
    assert rows[12, True] > rows[12, False]
    assert [row["size"] for row in json.loads((tmp_path / "scores.json").read_text())["by_size"]] == [8, 12]
    assert (tmp_path / "scores.resolution.svg").read_text().startswith("<svg")


def test_only_the_last_layer_and_the_last_statistics_change(given, fixed):
    old, new = (load_file(folder / "model.safetensors") for folder in (given, fixed[0]))
    differing = {name for name in old if not torch.equal(old[name], new[name])}
    norms = ("blocks.2.bn2", "blocks.2.shortcut.1")
    assert differing == {
        "classifier.weight", "classifier.bias",
        *(f"{norm}.{part}" for norm in norms for part in ("running_mean", "running_var", "num_batches_tracked")),
    }  # fmt: skip


def test_timm_alone_sees_the_new_size(fixed):
    network = timm.create_model(f"local-dir:{fixed[0]}", pretrained=True).eval()
    data = resolve_model_data_config(network)
    assert (data["input_size"], data["crop_pct"]) == ((1, 12, 12), 1.0)
    ours = load_classifier(fixed[0])
    pixels = torch.randint(0, 256, (2, 1, 12, 12), generator=torch.Generator().manual_seed(0)).byte()
    with torch.no_grad():
        assert torch.allclose(network(ours.normalize(pixels)), ours(pixels), atol=1e-5)


@pytest.mark.parametrize("norm", ["statistics", "none"])
def test_a_killed_fix_ends_with_the_same_bits(given, tmp_path, monkeypatch, norm):
    settings = {**QUICK, "fix.norm": norm, "train.save_every": 1e-6}
    supervised, calls = fix_stage.supervised, []

    def dies(logits, targets):
        calls.append(1)
        if len(calls) == 45:
            raise Killed
        return supervised(logits, targets)

    monkeypatch.setattr(fix_stage, "supervised", dies)
    with pytest.raises(Killed):
        ns.fix(LABELED, checkpoint=given, out=tmp_path / "killed", settings=settings, quiet=True)
    assert (tmp_path / "killed" / "training-state.pt").exists()
    ns.fix(LABELED, checkpoint=given, out=tmp_path / "killed", settings=settings, quiet=True)
    assert len(calls) == 45 + 80 - 20  # it went on from step 20
    ns.fix(LABELED, checkpoint=given, out=tmp_path / "whole", settings=settings, quiet=True)
    killed, whole = ((tmp_path / name / "model.safetensors").read_bytes() for name in ("killed", "whole"))
    assert killed == whole


def test_the_command_says_what_it_found_and_finds_it_done(given, tmp_path, capsys):
    out = tmp_path / "model"
    words = ["fix", "--checkpoint", str(given), "--labeled", LABELED, "--size", "16", "--validation", "digits:test"]
    words += [f"--{name}={value}" for name, value in QUICK.items()] + ["--fix.views=shifted", "--out", str(out)]
    assert main(words) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "objects look 0.71 times as large in the test as in training at 8 px, and 1.42 times at 16 px"
    assert [line.split()[:3] for line in lines[1:4]] == [
        ["before", "8", "px"],
        ["before", "16", "px"],
        ["fixed", "16", "px"],
    ]
    assert main(words) == 0
    captured = capsys.readouterr()
    assert captured.out.splitlines() == lines
    assert captured.err.count("done before") == 2


def test_the_last_blocks_learn_with_a_preset(given, tmp_path):
    settings = {"fix.preset": "paper:xie2020", "fix.stochastic_depth": 0.1, "runtime.threads": 1}
    ns.fix(LABELED, checkpoint=given, out=tmp_path / "m", size=12, settings=settings, quiet=True)
    old, new = (load_file(folder / "model.safetensors") for folder in (given, tmp_path / "m"))
    differing = {name for name in old if not torch.equal(old[name], new[name])}
    assert {name.split(".")[0] + name.split(".")[1] for name in differing if "blocks" in name} == {"blocks2"}


def fix(checkpoint, tmp_path, labeled=LABELED, **settings):
    return ns.fix(labeled, checkpoint=checkpoint, out=tmp_path / "out", settings={**QUICK, **settings}, quiet=True)


def test_there_may_be_nothing_to_fix(fixed, tmp_path):
    with pytest.raises(SettingsError, match="there is nothing to fix: the crops that model was trained on do not"):
        fix(fixed[0], tmp_path)
    weak = create_classifier("resnet10t", classes=tuple("0123456789"), channels=1, size=96)
    weak.trained_area = 0.77
    save_classifier(weak, tmp_path / "weak")
    with pytest.raises(SettingsError, match=r"nothing to fix: objects look 1\.2\d times as large to weak in the test"):
        fix(tmp_path / "weak", tmp_path)


def test_unknown_crops_need_a_size(tmp_path):
    save_classifier(create_classifier("tiny_resnet", classes=tuple("0123456789"), channels=1, size=8), tmp_path / "own")
    with pytest.raises(SettingsError, match=r"own does not say which crops its training had.*Give fix\.size N, or fix"):
        fix(tmp_path / "own", tmp_path)
    assert fix(tmp_path / "own", tmp_path, **{"fix.trained_area": 0.08}).size == 12


def test_models_that_cannot_be_fixed_are_refused(given, tmp_path):
    vit = create_classifier("test_vit", classes=tuple("0123456789"), channels=1, size=160)
    save_classifier(vit, tmp_path / "vit")
    with pytest.raises(ModelError, match="test_vit takes images of 160 px and was asked for 192 px: its size is fixed"):
        fix(tmp_path / "vit", tmp_path, **{"fix.size": 192})
    with pytest.raises(ModelError, match=r"fix\.norm statistics .* test_vit has none\. Give fix\.norm none"):
        fix(tmp_path / "vit", tmp_path, **{"fix.size": 160})
    with pytest.raises(SettingsError, match=r"fix\.size is none"):
        fix(given, tmp_path, **{"fix.size": "none"})
    with pytest.raises(SettingsError, match=r"runtime\.precision auto is for run, train and distill"):
        fix(given, tmp_path, **{"runtime.precision": "auto"})
    broken = load_classifier(given)
    torch.nn.init.constant_(broken.net.classifier.bias, float("nan"))
    save_classifier(broken, tmp_path / "broken")
    with pytest.raises(ModelError, match="holds a broken model: 1 of its"):
        fix(tmp_path / "broken", tmp_path)
    module = ns.load(load_classifier(given).net, classes=[*"0123456789"], size=8, channels=1)
    with pytest.raises(ModelError, match="is a module, and a checkpoint of a fixed one could not be built again"):
        ns.fix(LABELED, checkpoint=module, out=tmp_path / "out", quiet=True)


def test_an_architecture_of_ones_own_is_refused(given, tmp_path):
    own = load_classifier(given)
    own.name = "my_network"
    predictor = Predictor.of_classifier("mine", "f", own, RuntimeSettings())
    with pytest.raises(ModelError, match=r"my_network is an architecture of your own.*Give fix\.size to the run"):
        ns.fix(LABELED, checkpoint=predictor, out=tmp_path / "out", quiet=True)


def test_a_smaller_size_is_refused(fixed, tmp_path):
    with pytest.raises(SettingsError, match=r"fix\.size 8 is below the 12 px"):
        fix(fixed[0], tmp_path, **{"fix.size": 8})


def test_images_that_do_not_fit_are_refused(given, tmp_path):
    letters = create_classifier("tiny_resnet", classes=("a", "b"), channels=1, size=8)
    save_classifier(letters, tmp_path / "letters")
    with pytest.raises((ModelError, DataError), match="classes"):
        fix(tmp_path / "letters", tmp_path, **{"fix.size": 12})
    with pytest.raises(SettingsError, match=r"--size has 12 more than once"):
        ns.evaluate(checkpoint=given, source="digits:test", sizes=(12, 12))
    with pytest.raises(SettingsError, match=r"--size has 4; give edges in pixels from 8"):
        ns.evaluate(checkpoint=given, source="digits:test", sizes=(4,))
    assert main(["evaluate", "--checkpoint", str(given), "--source", "digits:test", "--size", "a"]) == 2


def test_a_diverging_fix_says_so(given, tmp_path):
    with pytest.raises(ns.NoisyStudentError, match=r"not finite .*; lower fix\.learning_rate, and run again"):
        fix(given, tmp_path, **{"fix.learning_rate": 1e30})


@pytest.mark.usefixtures("feature_cache")
def test_a_head_on_a_frozen_backbone_is_refused_with_the_way_to_its_larger_size(tmp_path):
    backbone = save_backbone(tmp_path / "backbone")
    settings = {"model.backbone": str(backbone), "model.tune": "head", "head.views": 0, "budget": "none",
                "rounds.baselines": False, "data.near_duplicates": "none", "runtime.threads": 1}  # fmt: skip
    run = ns.run(**DIGITS, out=tmp_path / "run", settings=settings, quiet=True)
    for head in (run.path, run.path / "best"):
        with pytest.raises(SettingsError, match=r"head on a frozen backbone.*--tune head and --data\.size N"):
            ns.fix(LABELED, checkpoint=head, out=tmp_path / "fixed", size=12, settings=QUICK, quiet=True)
