"""A run that logs for TensorBoard ends with the bits of one that does not."""

import pytest

import noisystudent

pytest.importorskip("tensorboard", reason="extra tensorboard")
SETTINGS = {
    "labeled": "digits:labeled",
    "data.size": 8,
    "train.steps": 40,
    "train.batch_size": 16,
    "noise.strength": 0.2,
    "model.teacher": "tiny_resnet",
}


def test_logging_changes_no_bit_of_a_model(tmp_path):
    plain = noisystudent.train(settings={**SETTINGS, "out": str(tmp_path / "plain")}, quiet=True)
    logged = noisystudent.train(
        settings={**SETTINGS, "out": str(tmp_path / "logged"), "runtime.log": "tensorboard"}, quiet=True
    )
    assert plain.fingerprint == logged.fingerprint
    assert (tmp_path / "plain/inputs.json").read_bytes() == (tmp_path / "logged/inputs.json").read_bytes()
    assert {path.name for path in tmp_path.glob("*.tensorboard/*")} == {"teacher"}
    again = noisystudent.train(settings={**SETTINGS, "out": str(tmp_path / "logged")}, quiet=True)
    assert again.fingerprint == plain.fingerprint
