"""Compiled training: the same losses and names as without, and the same bits after a kill."""

import json

import pytest
import torch

from noisystudent.errors import SettingsError, TrainingError
from noisystudent.runtime.compiling import require_compiler
from noisystudent.runtime.device import ON_CPU, Engine, open_engine
from noisystudent.runtime.settings import RuntimeSettings
from noisystudent.training.loop import METRICS, fit
from noisystudent.training.settings import TrainSettings
from training_setup import CPU, Killed, make_batches, make_classifier, objective, same_weights

COMPILED = Engine(CPU, compile=True)


@pytest.fixture(params=["aot_eager", pytest.param("inductor", marks=pytest.mark.timeout(1200))])
def backend(request, monkeypatch):
    """aot_eager runs the same steps except the last, the code generation of inductor, which takes minutes."""
    compile = torch.compile
    if request.param != "inductor":
        monkeypatch.setattr(torch, "compile", lambda model, *, dynamic, options: compile(model, backend=request.param))
    return request.param


def train(folder, engine, batches, steps=25):
    folder.mkdir(exist_ok=True)
    # AdamW would amplify rounding errors of gradients near 0 to whole steps.
    settings = TrainSettings(steps=steps, save_every=1e-6, optimizer="sgd", learning_rate=0.05)
    return fit(make_classifier(), batches, objective, settings, folder, seed=3, engine=engine)[0]


def losses(folder):
    return [json.loads(row)["loss"] for row in (folder / METRICS).read_text().splitlines()]


def test_compiled_training_gives_the_same_losses_and_resumes_to_the_same_bits(tmp_path, backend):
    batches = make_batches()
    plain = train(tmp_path / "plain", ON_CPU, batches)
    whole = train(tmp_path / "whole", COMPILED, batches)
    assert losses(tmp_path / "whole") == pytest.approx(losses(tmp_path / "plain"), rel=1e-3)
    assert list(whole.state_dict()) == list(plain.state_dict())
    for name, values in plain.state_dict().items():
        torch.testing.assert_close(whole.state_dict()[name], values, rtol=1e-3, atol=1e-3, msg=name)

    def killed_batches(step):
        if step == 23:
            raise Killed
        return batches(step)

    with pytest.raises(Killed):
        train(tmp_path / "killed", COMPILED, killed_batches)
    assert same_weights(whole, train(tmp_path / "killed", COMPILED, batches))


def test_a_failed_compilation_is_an_error_with_a_remedy(tmp_path, monkeypatch):
    def broken(graph, inputs):
        raise ValueError("no such instruction")

    compile = torch.compile
    monkeypatch.setattr(torch, "compile", lambda model, *, dynamic, options: compile(model, backend=broken))
    with pytest.raises(TrainingError, match=r"could not compile .*no such instruction.*runtime.compile false"):
        train(tmp_path, COMPILED, make_batches())


def test_other_errors_in_training_are_raised_unchanged(tmp_path):
    def broken(step):
        raise RuntimeError("no images")

    with pytest.raises(RuntimeError, match="no images"):
        train(tmp_path, ON_CPU, broken)


@pytest.mark.parametrize("compiler", ["no-such-compiler", ""])
def test_a_missing_compiler_is_reported_at_once(monkeypatch, compiler):
    monkeypatch.setenv("CXX", compiler)
    assert not open_engine(RuntimeSettings(device="cpu")).compile
    with pytest.raises(SettingsError, match=r"needs a C\+\+ compiler.*CXX"):
        open_engine(RuntimeSettings(device="cpu", compile=True))
    require_compiler(torch.device("cuda"))


def test_a_compiler_is_found_by_its_first_word(monkeypatch):
    monkeypatch.setenv("CXX", "sh -c")
    require_compiler(CPU)
    monkeypatch.setenv("CXX", "no-such-compiler sh")
    with pytest.raises(SettingsError, match="no-such-compiler sh"):
        require_compiler(CPU)
