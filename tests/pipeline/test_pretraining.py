"""Pretraining without labels: the command, what starts from it, what it refuses, and SimCLRv2's chain in one run."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import noisystudent as ns
from noisystudent.commands.main import BAD_USAGE, DONE, FAILED, main
from noisystudent.errors import DataError, ModelError, SettingsError, TrainingError
from noisystudent.models.create import create_model
from noisystudent.training.contrastive import ContrastiveBatches
from small_runs import DIGITS, SMALL, weights, without

PRETRAINING = {
    "pretraining.epochs": 0.2,
    "pretraining.batch_size": 32,
    "noise.flip": False,
    "data.near_duplicates": "none",
    "runtime.threads": 1,
}
CHAIN = {**PRETRAINING, **without(SMALL, "rounds.count", "noise.strength"), "recipe": "simclrv2", "rounds.controls": 1}


def pretrain(out: Path, *, test: str | None = "digits:test", labeled: str | None = "digits:labeled", **values):
    given = {name.replace("__", "."): value for name, value in values.items()}
    return ns.pretrain(
        "digits:unlabeled",
        labeled=labeled,
        test=test,
        out=out,
        model="tiny_resnet",
        settings={**PRETRAINING, **given},
        quiet=True,
    )


@pytest.fixture(scope="module")
def encoder(tmp_path_factory) -> ns.Pretrained:
    return pretrain(tmp_path_factory.mktemp("encoder") / "encoder")


def test_the_features_of_an_encoder_are_scored_on_labels_that_are_held_out(encoder):
    scores = encoder.probe
    assert (scores.labels, scores.images, scores.held_out) == (40, 500, "test")
    assert 0.3 < scores.linear < 1  # chance is 0.1
    assert 0.3 < scores.neighbors < 1
    rows = [json.loads(row) for row in (encoder.folder / "metrics.jsonl").read_text().splitlines()]
    assert rows[-1]["step"] == 8  # 0.2 epochs of 40 + 1257 images in steps of 32
    assert rows[-1]["spread"] > 0.5
    assert encoder.checkpoint.samples_seen == 2 * 8 * 32


def test_a_finished_encoder_is_found_done_and_another_seed_makes_another(encoder, tmp_path):
    before = (encoder.folder / "manifest.json").stat().st_mtime_ns
    again = pretrain(encoder.folder)
    assert again.probe == encoder.probe
    assert (encoder.folder / "manifest.json").stat().st_mtime_ns == before
    same, other = pretrain(tmp_path / "same"), pretrain(tmp_path / "other", seed=1)
    assert weights(same.folder) == weights(encoder.folder)  # the name of the folder decides nothing
    assert weights(other.folder) != weights(encoder.folder)


def test_what_only_scores_does_not_change_the_weights(encoder, tmp_path):
    alone = pretrain(tmp_path / "alone", test=None, data__validation_fraction=0.0)
    assert alone.probe is None
    assert weights(alone.folder) == weights(encoder.folder)


@pytest.mark.parametrize("name", ["start", "backbone"])
def test_training_starts_from_an_encoder(encoder, tmp_path, name):
    given = {"train.steps": 4, "train.batch_size": 16, "noise.strength": 0.25}
    start = {"start": encoder.folder} if name == "start" else {}
    if name == "backbone":
        given["model.backbone"] = str(encoder.folder)
    trained = ns.train("digits:labeled", out=tmp_path / "model", settings=given, quiet=True, **start)
    scratch = ns.train(
        "digits:labeled", out=tmp_path / "scratch", model="tiny_resnet", settings=without(given, "model.backbone"),
        quiet=True,
    )  # fmt: skip
    inputs = json.loads((trained.folder / "inputs.json").read_text())
    assert inputs["model"]["backbone"]
    assert weights(trained.folder) != weights(scratch.folder)
    assert len(ns.load(trained.folder).classes) == 10


def test_both_ways_to_start_make_the_same_model(encoder, tmp_path):
    given = {"train.steps": 2, "train.batch_size": 16, "noise.strength": 0.25}
    first = ns.train("digits:labeled", out=tmp_path / "a", start=str(encoder.folder), settings=given, quiet=True)
    named = {**given, "model.backbone": str(encoder.folder)}
    second = ns.train("digits:labeled", out=tmp_path / "b", settings=named, quiet=True)
    assert weights(first.folder) == weights(second.folder)


def test_an_encoder_and_another_backbone_are_not_given_together(encoder, tmp_path):
    with pytest.raises(SettingsError, match=r"and model\.backbone x both name the weights to begin with"):
        ns.train("digits:labeled", out=tmp_path, start=encoder.folder, settings={"model.backbone": "x"}, quiet=True)


def test_training_starts_from_a_middle_layer_of_the_head(encoder, tmp_path):
    kept = pretrain(tmp_path / "kept", pretraining__kept_layers=1, test=None, data__validation_fraction=0.0)
    first, second = (json.loads((made.folder / "config.json").read_text()) for made in (encoder, kept))
    assert (first["architecture"], second["architecture"]) == ("tiny_resnet", "projected_encoder")
    bodies = weights(encoder.folder), weights(kept.folder)
    assert bodies[0] != bodies[1]
    given = {"train.steps": 2, "train.batch_size": 16, "noise.strength": 0.25}
    model = ns.train("digits:labeled", out=tmp_path / "model", start=kept.folder, settings=given, quiet=True)
    assert model.model == "projected_encoder"
    assert 0 <= ns.evaluate(checkpoint=model.folder, source="digits:test").top1 <= 1


@pytest.mark.parametrize(
    ("model", "layers", "message"),
    [
        ("tiny_resnet", 2, r"kept_layers is 2, and of projection_layers 2"),
        ("vit_tiny_patch16_224", 1, "one size alone"),
    ],
)
def test_layers_that_cannot_stay_are_refused(tmp_path, model, layers, message):
    settings = {**PRETRAINING, "pretraining.kept_layers": layers, "data.size": 32}
    with pytest.raises(SettingsError, match=message):
        ns.pretrain("digits:unlabeled", out=tmp_path, model=model, settings=settings, quiet=True)


def test_a_run_does_not_keep_layers_of_its_own_pretraining(tmp_path):
    with pytest.raises(SettingsError, match=r"run does not use pretraining\.kept_layers, which pretrain uses"):
        ns.run(**DIGITS, out=tmp_path, settings={**CHAIN, "pretraining.kept_layers": 1}, quiet=True)


def test_heads_are_trained_on_the_features_of_an_encoder(encoder, tmp_path):
    settings = {"model.backbone": str(encoder.folder), "model.tune": "head", "budget": "none", "head.views": 0,
                "rounds.baselines": False, "data.near_duplicates": "none"}  # fmt: skip
    finished = ns.run(**DIGITS, out=tmp_path, settings=settings, quiet=True)
    assert finished.summary.student.test.top1 > 0.3


def test_a_distillation_starts_from_an_encoder(encoder, tmp_path):
    settings = {"train.steps": 2, "train.batch_size": 16, "noise.strength": 0.25, "rounds.controls": 1,
                "data.near_duplicates": "none"}  # fmt: skip
    start = encoder.folder
    finished = ns.distill(**DIGITS, teacher="tiny_resnet", start=start, out=tmp_path, settings=settings, quiet=True)
    assert json.loads((tmp_path / "student-1/inputs.json").read_text())["model"]["backbone"]
    assert finished.summary.student.test is not None


@pytest.mark.parametrize("function", ["evaluate", "label", "predict"])
def test_an_encoder_is_refused_where_classes_are_needed(encoder, tmp_path, function):
    given = {"evaluate": {"checkpoint": encoder.folder}, "label": {"teacher": encoder.folder},
             "predict": {"checkpoint": encoder.folder}}[function]  # fmt: skip
    if function != "evaluate":
        given["out"] = tmp_path / ("answers.csv" if function == "predict" else "answers")
    with pytest.raises(ModelError, match=r"has no classifier\. Train one from it first: noisystudent train --start"):
        getattr(ns, function)(source="digits:test", **given)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"pretraining.batch_size": 5000}, r"batch_size is 5000 and there are \d+ images"),
        ({"pretraining.batch_size": 1}, "of at least 2"),
        ({"pretraining.method": "none"}, "pretrain has nothing else to do; give simclr"),
        ({"runtime.precision": "auto"}, "time the training on labels"),
        ({"train.steps": 5}, r"pretrain does not use train\.steps"),
        ({"model.backbone": "efficientnet-lite0"}, r"pretrain does not use model\.backbone"),
    ],
)
def test_what_pretraining_cannot_do_is_refused(tmp_path, given, message):
    with pytest.raises(SettingsError, match=message):
        ns.pretrain("digits:unlabeled", out=tmp_path / "p", settings={**PRETRAINING, **given}, quiet=True)


def test_pretraining_needs_images(tmp_path):
    with pytest.raises(SettingsError, match="give --unlabeled, --labeled or both"):
        ns.pretrain(out=tmp_path / "p", quiet=True)


def test_a_pretraining_that_diverges_or_collapses_is_refused(tmp_path):
    with pytest.raises(TrainingError, match="not finite"):
        pretrain(tmp_path / "a", pretraining__optimizer="sgd", pretraining__learning_rate=1e30)
    same = np.full((64, 8, 8), 100, np.uint8)
    np.savez(tmp_path / "same.npz", x=same)
    given = {**PRETRAINING, "pretraining.epochs": 1, "pretraining.color": 0.0, "data.size": 8}
    with pytest.raises(TrainingError, match="has collapsed: all images have nearly the same features"):
        ns.pretrain(str(tmp_path / "same.npz"), out=tmp_path / "b", model="tiny_resnet", settings=given, quiet=True)


def test_test_images_are_left_out(tmp_path):
    with pytest.raises(DataError, match="are also validation or test images"):
        ns.pretrain("digits:test", test="digits:test", out=tmp_path / "p", settings=PRETRAINING, quiet=True)


def test_streamed_images_are_pretrained_on_without_the_held_out_ones(tmp_path):
    given = {"data__streaming": "always", "data__window": 300, "data__near_duplicates": 10}
    made = pretrain(tmp_path / "p", labeled=None, **given)
    assert made.checkpoint.samples_seen == 2 * 8 * 32
    assert json.loads((tmp_path / "p.screen" / "left-out.json").read_text())
    assert weights(made.folder) == weights(pretrain(tmp_path / "again", labeled=None, **given).folder)


def test_the_command_pretrains_and_says_how_good_the_features_are(tmp_path, capsys):
    sources = ["--unlabeled", "digits:unlabeled", "--labeled", "digits:labeled", "--test", "digits:test"]
    words = ["pretrain", "--method", "simclr", *sources, "--model", "tiny_resnet", "--out", str(tmp_path / "p")]
    options = [word for name, value in PRETRAINING.items() for word in (f"--{name}", str(value))]
    assert main([*words, *options]) == DONE
    assert "on its frozen features, 40 labels give" in capsys.readouterr().out
    assert main(["evaluate", "--checkpoint", str(tmp_path / "p"), "--source", "digits:test"]) == FAILED
    assert "has no classifier" in capsys.readouterr().err
    assert (
        main(["pretrain", "--unlabeled", "digits:unlabeled", "--out", str(tmp_path / "q"), "--method", "byol"])
        == BAD_USAGE
    )


@pytest.fixture(scope="module")
def chain(tmp_path_factory) -> ns.Run:
    return ns.run(**DIGITS, out=tmp_path_factory.mktemp("chain"), settings=CHAIN, quiet=True)


def test_a_run_pretrains_fine_tunes_and_distills(chain):
    summary = chain.summary
    stages = [stage.name for stage in summary.cost.stages]
    assert stages[:2] == ["pretrain", "teacher"]
    assert "round-1/student" in stages
    assert summary.cost.stages[0].samples_seen == 2 * 8 * 32
    encoder = json.loads((chain.path / "pretrain/config.json").read_text())
    assert encoder["num_classes"] == 0
    fingerprints = {
        json.loads((chain.path / stage / "inputs.json").read_text())["model"]["backbone"]
        for stage in ("teacher", "round-1/student", "control")
    }
    assert len(fingerprints) == 1
    student = json.loads((chain.path / "round-1/student/inputs.json").read_text())
    assert student["objective"]["distillation"]["hard_weight"] == 0.0
    assert summary.verdict.difference is not None
    probes = json.loads((chain.path / "probe/summary.json").read_text())
    assert {baseline.name: baseline.top1 for baseline in summary.baselines} == {
        "linear probe of the encoder": probes["linear"],
        "nearest neighbors on the encoder": probes["neighbors"],
    }


def test_a_plan_has_the_stages_of_the_chain(chain, tmp_path):
    planned = ns.plan(**DIGITS, out=tmp_path, settings=CHAIN, quiet=True)
    costs = {stage.name: stage.samples_seen for stage in chain.summary.cost.stages}
    assert planned.stages[0].name == "pretrain"
    for stage in planned.stages:
        assert costs[stage.name] == stage.samples_seen, stage.name
    assert all(
        stage.state == "complete" for stage in ns.plan(**DIGITS, out=chain.path, settings=CHAIN, quiet=True).stages
    )


def test_the_chain_begins_with_an_encoder_that_is_there(encoder, tmp_path):
    settings = without(CHAIN, "pretraining.epochs", "pretraining.batch_size")
    planned = ns.plan(**DIGITS, start=encoder.folder, out=tmp_path, settings=settings, quiet=True)
    assert [stage.name for stage in planned.stages][:1] == ["teacher"]


def test_other_settings_of_the_fine_tuning_keep_the_encoder(chain):
    before = (chain.path / "pretrain/manifest.json").stat().st_mtime_ns
    again = ns.run(**DIGITS, out=chain.path, settings={**CHAIN, "train.steps": 6}, quiet=True)
    assert (chain.path / "pretrain/manifest.json").stat().st_mtime_ns == before
    assert again.summary.teacher.samples_seen == 6 * 32


def test_the_verdict_and_the_page_say_that_all_models_were_pretrained(chain):
    assert chain.summary.verdict.treatment == "learning from pseudo labels after pretraining"
    page = (chain.path / "report.html").read_text()
    assert "an encoder that this run pretrained on its own images without their labels (simclr)" in page


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"budget": "5m"}, "does not count the pretraining"),
        (
            {"model.backbone": "efficientnet-lite0", "model.teacher": "auto"},
            r"model\.backbone efficientnet-lite0 names oth",
        ),
        ({"model.pretrained": True}, r"model\.pretrained true names others"),
        ({"pretraining.batch_size": 5000}, "batch_size is 5000"),
    ],
)
def test_what_the_pretraining_of_a_run_cannot_be_combined_with_is_refused(tmp_path, given, message):
    with pytest.raises(SettingsError, match=message):
        ns.run(**DIGITS, out=tmp_path, settings={**CHAIN, **given}, quiet=True)


def test_the_recipe_with_heads_is_refused(tmp_path):
    with pytest.raises(SettingsError, match=r"model\.tune head computes features before"):
        ns.run(**DIGITS, out=tmp_path, settings={"recipe": "simclrv2", "model.tune": "head"}, quiet=True)


def test_a_network_without_a_name_is_refused(tmp_path):
    def own(classes: int, channels: int, size: int):
        return create_model("tiny_resnet", classes=classes, channels=channels, size=size)

    with pytest.raises(SettingsError, match="your own model has no name"):
        ns.run(**DIGITS, out=tmp_path, settings=without(CHAIN, "model.teacher"), model=own, quiet=True)


@pytest.mark.parametrize("command", ["train", "distill"])
def test_the_recipe_of_the_chain_is_for_run(tmp_path, command):
    sources = {"labeled": "digits:labeled"} if command == "train" else DIGITS
    with pytest.raises(SettingsError, match=f"{command} does not pretrain; use run"):
        getattr(ns, command)(**sources, out=tmp_path, settings={"recipe": "simclrv2"}, quiet=True)


def test_unreadable_images_of_a_stream_are_named_and_replaced_or_too_many(tmp_path, capsys):
    images = [tmp_path / "images" / f"{number}.png" for number in range(40)]
    images[0].parent.mkdir()
    for number, path in enumerate(images):
        Image.fromarray(np.random.default_rng(number).integers(0, 256, (8, 8), np.uint8)).save(path)
    images[7].write_bytes(b"no image")
    given = {**PRETRAINING, "pretraining.epochs": 2, "pretraining.batch_size": 8, "data.streaming": "always"}
    ns.pretrain(str(tmp_path / "images"), out=tmp_path / "p", model="tiny_resnet", settings=given)
    assert "1 image of shard 0 of the unlabeled set cannot be read, such as '7.png'" in capsys.readouterr().err
    strict = {**given, "data.max_corrupt_fraction": 0.0}
    with pytest.raises(DataError, match=r"At least 1 of the 40 images .* cannot be read"):
        ns.pretrain(str(tmp_path / "images"), out=tmp_path / "q", model="tiny_resnet", settings=strict, quiet=True)


def test_a_killed_pretraining_ends_with_the_weights_of_one_that_was_not(encoder, tmp_path, monkeypatch):
    class Killed(Exception):
        pass

    whole = ContrastiveBatches.__call__

    def killed(batches, step):
        if step == 5:
            raise Killed
        return whole(batches, step)

    monkeypatch.setattr(ContrastiveBatches, "__call__", killed)
    with pytest.raises(Killed):
        pretrain(tmp_path / "p", train__save_every=1e-9)
    shown: list[int] = []

    def counted(batches, step):
        shown.append(step)
        return whole(batches, step)

    monkeypatch.setattr(ContrastiveBatches, "__call__", counted)
    resumed = pretrain(tmp_path / "p", train__save_every=1e-9)
    assert weights(resumed.folder) == weights(encoder.folder)
    assert shown
