"""AutoAttack: against a closed form and PGD if its package is installed, and checks of any package's result."""

import json
import math
import random
import sys
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

import noisystudent
from noisystudent.commands.main import main
from noisystudent.errors import DataError, MismatchError, ModelError, SettingsError
from noisystudent.evaluation.adversarial.attacks import attack_images, pgd
from noisystudent.evaluation.adversarial.autoattack import autoattack_accuracy, run_autoattack
from noisystudent.models.classifier import UnitPixels, create_classifier

NEEDED = "needs AutoAttack's own package: pip install git+https://github.com/fra31/auto-attack"


@pytest.fixture
def package():
    return pytest.importorskip("autoattack", reason=NEEDED)


def linear(classes=5, values=36):
    generator = torch.Generator().manual_seed(3)
    net = nn.Sequential(nn.Flatten(), nn.Linear(values, classes, bias=False)).eval()
    with torch.no_grad():
        weights = torch.randn(classes, values, generator=generator)
        net[1].weight.copy_(
            weights - weights.mean(dim=1, keepdim=True)
        )  # brightness, equal in all, does not depend on the class
    return net


def images(count=24, size=6):
    return 0.3 + 0.4 * torch.rand(count, 1, size, size, generator=torch.Generator().manual_seed(4))


@pytest.mark.parametrize(("norm", "epsilon", "order"), [("linf", 0.01, 1), ("l2", 0.048, 2)])
def test_exactly_the_images_with_a_small_margin_fool_a_linear_model(package, norm, epsilon, order):
    """Class i can change to j iff the logits differ by at most epsilon times the dual norm of w_i - w_j."""
    net, pixels = linear(), images()
    logits = net(pixels).detach()
    labels = logits.argmax(dim=1)
    weights = net[1].weight.detach()
    reach = epsilon * (weights[labels][:, None] - weights[None]).norm(p=order, dim=2)
    slack = logits.gather(1, labels[:, None]) - logits - reach
    slack[torch.arange(len(labels)), labels] = math.inf
    smallest = slack.amin(dim=1)
    assert smallest.abs().min() > 1e-3  # no image is so close to the boundary that rounding decides
    result = run_autoattack(net, pixels, labels, norm=norm, epsilon=epsilon)
    assert torch.equal(result.fooled, smallest < 0)
    assert 0 < int(result.fooled.sum()) < len(labels)


@pytest.fixture(scope="module")
def trained():
    """A network of two layers trained on four blurred blobs, and 60 images of them."""
    generator = torch.Generator().manual_seed(0)
    centers = torch.rand(4, 1, 8, 8, generator=generator)
    labels = torch.arange(60) % 4
    noise = torch.randn(60, 1, 8, 8, generator=generator)
    pixels = (0.5 + 0.2 * (centers[labels] - 0.5) + 0.1 * noise).clamp(0, 1)
    torch.manual_seed(1)
    net = nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 4))
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-2)
    for _ in range(40):
        optimizer.zero_grad()
        F.cross_entropy(net(pixels), labels).backward()
        optimizer.step()
    optimizer.zero_grad()
    return net.eval(), pixels, labels


@pytest.mark.parametrize(("norm", "epsilon"), [("linf", 0.03), ("l2", 0.2)])
def test_it_is_no_weaker_than_pgd_and_reproducible(package, trained, norm, epsilon):
    net, pixels, labels = trained
    result = run_autoattack(net, pixels, labels, norm=norm, epsilon=epsilon, seed=2)
    weaker = attack_images(net, pixels, labels, pgd(epsilon, norm=norm, steps=20))
    assert 0 < int(weaker.fooled.sum()) <= int(result.fooled.sum()) < len(labels)
    change = (result.pixels - pixels).flatten(1)
    size = change.abs().amax(dim=1) if norm == "linf" else change.norm(dim=1)
    assert size.max() <= epsilon + 1e-6
    assert result.pixels.min() >= 0
    assert result.pixels.max() <= 1
    assert torch.equal(result.fooled, net(result.pixels).argmax(dim=1) != labels)
    repeated = run_autoattack(net, pixels, labels, norm=norm, epsilon=epsilon, seed=2)
    assert torch.equal(repeated.pixels, result.pixels)


def test_it_accepts_a_classifier_of_this_package_and_one_image(package):
    torch.manual_seed(0)
    model = UnitPixels(create_classifier("tiny_resnet", classes=("a", "b", "c", "d"), channels=3, size=8).eval())
    pixels = torch.rand(1, 3, 8, 8)
    label = model(pixels).argmax(dim=1)
    epsilon = 8 / 255
    result = run_autoattack(model, pixels, label, norm="linf", epsilon=epsilon)
    assert (result.pixels - pixels).abs().max() <= epsilon + 1e-6
    assert result.fooled >= attack_images(model, pixels, label, pgd(epsilon)).fooled


def test_the_state_of_the_process_is_restored(package, trained):
    check_the_process(trained)


def check_the_process(trained):
    net, pixels, labels = trained
    assert all(parameter.requires_grad for parameter in net.parameters())

    def tracer(*_):
        return None

    torch.manual_seed(11)
    before = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist(), torch.get_default_dtype()
    old = sys.gettrace()
    sys.settrace(tracer)
    try:
        run_autoattack(net, pixels[:8], labels[:8], norm="linf", epsilon=0.2)
        assert sys.gettrace() is tracer
    finally:
        sys.settrace(old)
    after = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist(), torch.get_default_dtype()
    assert torch.equal(before[0], after[0])
    assert before[1:] == after[1:]
    assert all(parameter.requires_grad and parameter.grad is None for parameter in net.parameters())
    assert not any(module.training for module in net.modules())


class FakeAutoAttack(SimpleNamespace):
    """Replaces the package's class: returns images by ``move``, and changes the same global state."""

    made = ()
    move = staticmethod(lambda pixels: pixels)

    def __init__(self, model, **settings):
        super().__init__(model=model, settings=settings)
        self.apgd_targeted, self.fab = (SimpleNamespace(n_target_classes=9) for _ in range(2))
        FakeAutoAttack.made = (*FakeAutoAttack.made, self)

    def run_standard_evaluation(self, pixels, labels, bs):
        torch.manual_seed(self.settings["seed"])
        sys.settrace(None)
        variable = pixels.clone().requires_grad_()
        self.model(variable).sum().backward()
        print("Warning: something is odd")
        print("robust accuracy: 99.9%")
        self.given = pixels, labels, bs
        return FakeAutoAttack.move(pixels)


@pytest.fixture
def fake_package(monkeypatch):
    """The package, replaced by one that changes no image."""
    module = ModuleType("autoattack")
    module.AutoAttack = FakeAutoAttack
    monkeypatch.setitem(sys.modules, "autoattack", module)
    monkeypatch.setattr(FakeAutoAttack, "made", ())
    return monkeypatch


def test_changes_by_any_package_are_undone(fake_package, trained):
    check_the_process(trained)


def test_the_standard_version_runs_with_no_more_targets_than_wrong_classes(fake_package, trained, capsys):
    net, pixels, labels = trained
    labels = torch.cat([1 - labels[:2], labels[2:]])  # two wrong labels, of the classes 0 and 1
    correct = net(pixels).argmax(dim=1) == labels
    batches = [(pixels[:40], labels[:40]), (pixels[40:], labels[40:])]
    result = autoattack_accuracy(net, batches, norm="l2", epsilon=0.5, seed=7)
    assert result.count == 60
    assert result.robust_correct == int(correct.sum()) < 60
    assert [len(made.given[0]) for made in FakeAutoAttack.made] == [int(correct[:40].sum()), int(correct[40:].sum())]
    for made in FakeAutoAttack.made:
        assert made.settings == {
            "norm": "L2", "eps": 0.5, "seed": 7, "device": torch.device("cpu"), "verbose": False,
        }  # fmt: skip
        assert made.apgd_targeted.n_target_classes == made.fab.n_target_classes == 3
    assert result.notes == ("AutoAttack: something is odd",)
    assert capsys.readouterr().out == ""
    many = linear(classes=12)
    run_autoattack(many, images(), many(images()).argmax(dim=1), norm="linf", epsilon=0.1)
    assert FakeAutoAttack.made[-1].fab.n_target_classes == 9


def test_images_outside_the_ball_or_the_range_are_refused(fake_package, trained):
    net, pixels, labels = trained
    inside = pixels.clamp(0.1, 0.9)
    for move in (lambda x: x + 0.02, lambda x: x - 0.02, lambda x: x * math.nan):
        fake_package.setattr(FakeAutoAttack, "move", staticmethod(move))
        with pytest.raises(SettingsError, match=r"distance of (0\.02|nan) \(linf\) for an epsilon of 0\.01"):
            run_autoattack(net, inside, labels, norm="linf", epsilon=0.01)
    fake_package.setattr(FakeAutoAttack, "move", staticmethod(lambda x: x + 0.02))
    assert torch.equal(run_autoattack(net, inside, labels, norm="linf", epsilon=0.02).pixels, inside + 0.02)
    with pytest.raises(SettingsError, match=r"distance of 0\.16 \(l2\)"):  # 64 pixels change by 0.02
        run_autoattack(net, inside, labels, norm="l2", epsilon=0.15)
    with pytest.raises(SettingsError, match=r"with pixels from 0\.\d+ to 1\.01"):
        run_autoattack(net, inside + 0.09, labels, norm="linf", epsilon=0.05)


def test_fooled_images_are_counted_with_the_model_itself(fake_package, trained):
    net, pixels, labels = trained
    fake_package.setattr(FakeAutoAttack, "move", staticmethod(lambda x: (x + 0.5).clamp(0, 1)))
    result = run_autoattack(net, pixels, labels, norm="linf", epsilon=0.5)
    assert torch.equal(result.fooled, net((pixels + 0.5).clamp(0, 1)).argmax(dim=1) != labels)
    assert result.fooled.any()


def test_an_epsilon_of_zero_and_no_images_run_nothing(fake_package, trained):
    net, pixels, labels = trained
    result = run_autoattack(net, pixels, labels, norm="linf", epsilon=0)
    assert torch.equal(result.fooled, net(pixels).argmax(dim=1) != labels)
    assert len(run_autoattack(net, pixels[:0], labels[:0], norm="linf", epsilon=0.1).pixels) == 0
    assert FakeAutoAttack.made == ()
    with pytest.raises(DataError, match="no images to attack"):
        autoattack_accuracy(net, [], norm="linf", epsilon=0.1)


def test_invalid_models_images_and_labels_are_refused(fake_package, trained):
    net, pixels, labels = trained
    few = linear(classes=3, values=64)
    with pytest.raises(SettingsError, match=r"needs at least 4 classes.*there are 3"):
        run_autoattack(few, pixels, few(pixels).argmax(dim=1), norm="linf", epsilon=0.1)
    with pytest.raises(DataError, match="look normalized"):
        run_autoattack(net, pixels - 0.5, labels, norm="linf", epsilon=0.1)
    with pytest.raises(DataError, match="classes 0 to 3"):
        run_autoattack(net, pixels, labels + 1, norm="linf", epsilon=0.1)
    with pytest.raises(ModelError, match="training mode"):
        run_autoattack(nn.Sequential(nn.Flatten(), nn.Linear(64, 4)), pixels, labels, norm="linf", epsilon=0.1)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    out = tmp_path_factory.mktemp("checkpoint") / "model"
    settings = {"train.steps": 30, "train.batch_size": 32, "data.size": 8, "noise.strength": 0.25}
    noisystudent.train(
        labeled="digits:labeled", out=out, settings={**settings, "model.teacher": "tiny_resnet"}, quiet=True
    )
    return out


def arguments_of(checkpoint, out, *more):
    arguments = ["evaluate", f"--checkpoint={checkpoint}", "--source=digits:test", "--suite=attacks", f"--out={out}"]
    return [
        *arguments,
        "--evaluation.max_images=40",
        "--evaluation.epsilons=0,16",
        "--evaluation.attack_steps=4",
        *more,
    ]


def test_adding_it_keeps_the_results_of_the_other_attacks(fake_package, checkpoint, tmp_path, capsys):
    assert main(arguments_of(checkpoint, tmp_path)) == 0
    assert "AutoAttack" not in capsys.readouterr().out
    before = json.loads((tmp_path / "robustness.json").read_text())["attacks"]
    assert [row["autoattack"] for row in before["curve"]] == [None, None]
    times = {path: path.stat().st_mtime_ns for path in tmp_path.glob("attacks/epsilon-*.json")}
    assert len(times) == 2
    assert main(arguments_of(checkpoint, tmp_path, "--evaluation.autoattack=true")) == 0
    assert {path: path.stat().st_mtime_ns for path in times} == times
    assert len(list(tmp_path.glob("autoattack/epsilon-*.json"))) == 2
    after = json.loads((tmp_path / "robustness.json").read_text())["attacks"]
    clean, strong = after["curve"]
    others = {key: value for key, value in before["curve"][0].items() if not key.startswith("autoattack")}
    assert {key: clean[key] for key in others} == others
    # A package that changes no image leaves the clean accuracy, which is higher than that under PGD.
    assert clean["autoattack"] == strong["autoattack"] == after["clean"] > strong["pgd"] + 0.1
    error = math.sqrt(strong["autoattack"] * (1 - strong["autoattack"]) / 40)
    assert strong["autoattack_standard_error"] == pytest.approx(error)
    (warning,) = (warning for warning in after["warnings"] if "AutoAttack leaves" in warning)
    assert f"At epsilon 16/255 AutoAttack leaves {after['clean']:.4f} right" in warning
    printed = capsys.readouterr().out
    assert f"PGD {strong['pgd']:.4f}  AutoAttack {strong['autoattack']:.4f}" in printed


def test_a_missing_package_is_reported_before_anything_is_measured(monkeypatch, checkpoint, tmp_path, capsys):
    monkeypatch.setitem(sys.modules, "autoattack", None)
    assert main(arguments_of(checkpoint, tmp_path, "--evaluation.autoattack=true")) == 2
    message = capsys.readouterr().err
    assert "needs its authors' package autoattack" in message
    assert "pip install git+https://github.com/fra31/auto-attack" in message
    assert not (tmp_path / "attacks").exists()


def test_the_step_size_is_a_fraction_of_epsilon_and_is_stored(checkpoint, tmp_path):
    def curve(out, step_size):
        attacks = noisystudent.robustness(
            checkpoint=checkpoint, source="digits:test", out=tmp_path / out, quiet=True,
            settings={
                "evaluation.suite": ["attacks"], "evaluation.max_images": 40, "evaluation.epsilons": [16],
                "evaluation.attack_steps": 4, "evaluation.step_size": step_size,
            },
        ).attacks  # fmt: skip
        return attacks.step_size, attacks.curve[0].pgd, attacks.clean

    size, usual, clean = curve("auto", "auto")
    assert size == 2.5 / 4
    assert curve("same", 0.625) == (size, usual, clean)
    stored = json.loads((tmp_path / "auto/attacks/epsilon-16.json").read_text())["attacks"][1]
    assert stored["step_size"] == pytest.approx(2.5 / 4 * 16 / 255)
    tiny, weak, _ = curve("tiny", 0.001)
    assert tiny == 0.001
    assert usual < weak <= clean
    with pytest.raises(MismatchError, match=r"measured differently; what differs: step_size: 0\.625 -> 0\.5\."):
        curve("auto", 0.5)
    for wrong in (0, -1, "large"):
        with pytest.raises(SettingsError, match="step_size"):
            curve("wrong", wrong)
