"""Every command that takes a checkpoint takes published weights, and answers as timm does."""

import json

import pytest

import noisystudent
from noisystudent.commands.main import main
from noisystudent.models.imagenet import imagenet_synsets
from noisystudent.models.load import open_classifier, weights_fingerprint
from published_models import RESNET, VIT, cached, images, timms_answers

__all__ = ["cached", "images"]  # fixtures


def test_predict_gives_timms_own_answers_by_synset(cached, images, tmp_path):
    noisystudent.predict(checkpoint=f"timm:{VIT}", source=images, out=tmp_path / "a.csv", quiet=True)
    rows = [line.split(",") for line in (tmp_path / "a.csv").read_text().splitlines()[1:]]
    probabilities = timms_answers(VIT, images).softmax(dim=1)
    assert [row[1] for row in rows] == [imagenet_synsets()[i] for i in probabilities.argmax(dim=1)]
    assert [float(row[2]) for row in rows] == pytest.approx(probabilities.amax(dim=1).tolist(), abs=2e-4)


def test_every_command_that_takes_a_checkpoint_takes_published_weights(cached, images, tmp_path, capsys):
    answer = timms_answers(VIT, images).argmax(dim=1)[-1]
    (images / "n15075141").rename(images / imagenet_synsets()[answer])  # so that some answers are right
    checkpoint, source = f"timm:{VIT}", f"--source={images}"
    suite = ["--suite=corruptions", "--evaluation.corruptions=contrast", "--evaluation.severities=5"]
    assert main(["evaluate", f"--checkpoint={checkpoint}", source, f"--out={tmp_path / 'robust'}", *suite]) == 0
    assert "3 of the model's 1000 classes, found by the names that the model gives them" in capsys.readouterr().out
    robust = json.loads((tmp_path / "robust/robustness.json").read_text())
    scores = json.loads((tmp_path / "robust/scores.json").read_text())
    assert robust["model"] == checkpoint
    columns = [imagenet_synsets().index(file.parent.name) for file in sorted(images.rglob("*.png"))]
    right = timms_answers(VIT, images).argmax(dim=1).numpy() == columns
    assert 0 < right.mean() < 1
    assert robust["clean"]["top1"] == scores["top1"] == right.mean()
    logs = timms_answers(VIT, images).log_softmax(dim=1)
    assert scores["nll"] == pytest.approx(-float(logs[range(6), columns].mean()), rel=1e-4)

    assert main(["label", f"--teacher={checkpoint}", source, f"--out={tmp_path / 'labels'}"]) == 0
    inputs = json.loads((tmp_path / "labels/inputs.json").read_text())
    assert inputs["teacher"] == weights_fingerprint(open_classifier(checkpoint).net.state_dict())
    assert inputs["classes"] == list(imagenet_synsets())

    words = ["compare", checkpoint, f"timm:{RESNET}", source, f"--out={tmp_path / 'compared'}", *suite]
    assert main(words) == 0
    assert set(json.loads((tmp_path / "compared/comparison.json").read_text())["differences"]) == {f"2 timm:{RESNET}"}
    assert "3 of the model&#39;s 1000 classes" in (tmp_path / "compared/comparison.html").read_text()
    # Another model's results are never taken for this one's.
    assert main(["evaluate", f"--checkpoint=timm:{RESNET}", source, f"--out={tmp_path / 'robust'}", *suite]) == 1
    assert "what differs: subject" in capsys.readouterr().err
