"""``--recipe bit``: weights of other classes are transferred to labels, in ``train`` and in a whole run."""

import json
import math

import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import load_file

import noisystudent as ns
from noisystudent.commands.main import main
from noisystudent.errors import SettingsError
from small_backbone import save_backbone
from small_runs import DIGITS, weights

SHORT = {
    "recipe": "bit",
    "data.size": 8,
    "train.steps": 20,
    "train.batch_size": 32,
    "runtime.threads": 1,
    "data.near_duplicates": "none",
}


@pytest.fixture(scope="module")
def upstream(tmp_path_factory):
    return save_backbone(tmp_path_factory.mktemp("upstream") / "model")


@pytest.fixture(scope="module")
def transferred(upstream, tmp_path_factory):
    out = tmp_path_factory.mktemp("transferred") / "model"
    return ns.train("digits:labeled", out=out, start=upstream, settings=SHORT, quiet=True)


def test_the_start_is_a_backbone_and_its_last_layer_is_new(upstream, transferred, tmp_path):
    named = ns.train(
        "digits:labeled", out=tmp_path / "named", settings={**SHORT, "model.backbone": str(upstream)}, quiet=True
    )
    assert weights(named.folder) == weights(transferred.folder)
    rows = [json.loads(line) for line in (transferred.folder / "metrics.jsonl").read_text().splitlines()]
    assert rows[0]["loss"] < math.log(10)  # begins there, and learns
    still = ns.train(
        "digits:labeled", out=tmp_path / "still", start=upstream, settings={**SHORT, "train.learning_rate": 1e-12},
        quiet=True,
    )  # fmt: skip
    first, last = load_file(upstream / "model.safetensors"), load_file(still.folder / "model.safetensors")
    head = {name for name in last if first[name].shape != last[name].shape}
    assert len(head) == 2
    assert all(torch.count_nonzero(last[name].round(decimals=6)) == 0 for name in head)
    assert all(torch.allclose(first[name], last[name]) for name in last.keys() - head)


def test_the_checkpoint_tells_timm_that_images_are_squashed(transferred):
    config = json.loads((transferred.folder / "config.json").read_text())["pretrained_cfg"]
    assert (config["crop_mode"], config["crop_pct"]) == ("squash", 1.0)
    model = ns.load(transferred.folder)
    image = Image.effect_noise((90, 30), 60).convert("L")
    transform = timm.data.create_transform((1, 8, 8), is_training=False, crop_pct=1.0, crop_mode="squash",
                                           interpolation="bicubic", mean=(0.5,), std=(0.5,))  # fmt: skip
    with torch.no_grad():
        expected = model.classifier.net(transform(image)[None])
    assert model.predict_proba(image)[0] == pytest.approx(expected.softmax(1)[0].numpy(), abs=0.05)


def test_the_command_takes_a_start_and_says_what_the_labels_decide(upstream, tmp_path, capsys):
    given = [f"--{name}={value}" for name, value in SHORT.items() if name != "train.steps"]
    arguments = ["train", "--labeled", "digits:labeled", "--start", str(upstream), "--train.stop_after", "1"]
    assert main([*arguments, *given, "--out", str(tmp_path / "out")]) == 0
    assert "labels, so 500 steps of 32 images (train.rule bit)" in capsys.readouterr().err


def test_it_is_the_start_of_teacher_and_students(upstream, tmp_path):
    settings = {**SHORT, "train.steps": 8, "rounds.count": 1, "model.backbone": str(upstream), "rounds.controls": 1}
    run = ns.run(**DIGITS, out=tmp_path / "run", settings=settings, quiet=True)
    for stage in ("teacher", "round-1/student"):
        inputs = json.loads((tmp_path / "run" / stage / "inputs.json").read_text())
        assert inputs["model"]["head"] == "zero"
        assert inputs["train"]["schedule"] == "steps"
        assert inputs["model"]["squash"]
    assert run.facts.origins["train.drops"].startswith(("recipe", "default", "train.rule"))
    assert run.facts.start.weights == str(upstream)


def test_without_weights_it_is_refused(tmp_path):
    with pytest.raises(SettingsError, match="recipe bit transfers weights that were trained before"):
        ns.train("digits:labeled", out=tmp_path / "out", settings=SHORT, quiet=True)
