"""FGSM and PGD: against foolbox and torchattacks, a closed form, and the limits of any attack."""

import copy
import dataclasses
import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from noisystudent.errors import DataError, ModelError, SettingsError
from noisystudent.evaluation.adversarial.attacks import Attack, attack_images, fgsm, pgd
from noisystudent.models.classifier import UnitPixels, create_classifier
from noisystudent.models.teacher import Teacher

EPSILONS = [1 / 255, 2 / 255, 4 / 255]


class SmallNet(nn.Module):
    """Normalization, two convolutions and a linear layer, trained briefly on four blurred blobs."""

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.AvgPool2d(2), nn.Conv2d(8, 16, 3, padding=1), nn.ReLU(),
            nn.AvgPool2d(2), nn.Flatten(), nn.Linear(16 * 9, 4),
        )  # fmt: skip

    def forward(self, pixels):
        return self.layers((pixels - 0.5) / 0.25)


@pytest.fixture(scope="module")
def task():
    torch.manual_seed(0)
    centers = torch.rand(4, 3, 12, 12)
    labels = torch.arange(80) % 4
    pixels = (0.5 + 0.2 * (centers[labels] - 0.5) + 0.15 * torch.randn(80, 3, 12, 12)).clamp(0, 1)
    pixels[:, :, 0, 0], pixels[:, :, 0, 1] = 0, 1  # the ends of the range
    net = SmallNet()
    optimizer = torch.optim.Adam(net.parameters(), lr=3e-3)
    for _ in range(60):
        optimizer.zero_grad()
        F.cross_entropy(net(pixels), labels).backward()
        optimizer.step()
    optimizer.zero_grad()
    return net.eval(), pixels, labels


@pytest.fixture(scope="module")
def linear():
    torch.manual_seed(1)
    weights = torch.randn(1, 2 * 5 * 5)
    net = nn.Sequential(nn.Flatten(), nn.Linear(50, 2, bias=False)).eval()
    with torch.no_grad():
        net[1].weight.copy_(torch.cat([weights / 2, -weights / 2]))
    return net, weights[0]


def margins(net, pixels):
    logits = net(pixels)
    return logits[:, 0] - logits[:, 1]


def accuracy(outcome):
    return 1 - outcome.fooled.double().mean().item()


@pytest.mark.parametrize("epsilon", EPSILONS)
def test_attacks_match_foolbox(task, epsilon):
    foolbox = pytest.importorskip("foolbox")
    net, pixels, labels = task
    theirs = foolbox.PyTorchModel(net, bounds=(0, 1), device="cpu")
    pairs = [
        (fgsm(epsilon), foolbox.attacks.LinfFastGradientAttack(random_start=False)),
        (fgsm(30 * epsilon, "l2"), foolbox.attacks.L2FastGradientAttack(random_start=False)),
        (
            pgd(epsilon, steps=7),
            foolbox.attacks.LinfProjectedGradientDescentAttack(
                abs_stepsize=2.5 * epsilon / 7, steps=7, random_start=False
            ),
        ),
        (
            pgd(30 * epsilon, norm="l2", steps=7),
            foolbox.attacks.L2ProjectedGradientDescentAttack(
                abs_stepsize=75 * epsilon / 7, steps=7, random_start=False
            ),
        ),
    ]
    for ours, attack in pairs:
        expected = attack.run(theirs, pixels, labels, epsilon=ours.epsilon)
        outcome = attack_images(net, pixels, labels, ours)
        assert (outcome.pixels - expected).abs().max() <= 1e-6
        assert torch.equal(outcome.fooled, net(expected).argmax(dim=1) != labels)


@pytest.mark.parametrize("epsilon", EPSILONS)
def test_attacks_match_torchattacks(task, epsilon):
    torchattacks = pytest.importorskip("torchattacks")
    net, pixels, labels = task
    pairs = [
        (fgsm(epsilon), torchattacks.FGSM(net, eps=epsilon)),
        (
            pgd(epsilon, step_size=epsilon / 4),
            torchattacks.PGD(net, eps=epsilon, alpha=epsilon / 4, steps=10, random_start=False),
        ),
        (
            pgd(30 * epsilon, norm="l2", step_size=6 * epsilon),
            torchattacks.PGDL2(net, eps=30 * epsilon, alpha=6 * epsilon, steps=10, random_start=False),
        ),
    ]
    for ours, attack in pairs:
        assert (attack_images(net, pixels, labels, ours).pixels - attack(pixels, labels)).abs().max() <= 1e-6


@pytest.mark.parametrize("steps", [1, 10])
def test_a_linear_model_loses_epsilon_times_the_dual_norm(linear, steps):
    """Its gradient is the same everywhere, so any number of steps ends at the same point of the ball."""
    net, weights = linear
    pixels = 0.3 + 0.4 * torch.rand(6, 2, 5, 5)
    labels = torch.tensor([0, 1, 0, 1, 0, 1])
    sides = 1 - 2 * labels
    for epsilon, norm, dual in ((0.02, "linf", weights.abs().sum()), (0.3, "l2", weights.norm())):
        attack = Attack(norm=norm, epsilon=epsilon, steps=steps, step_size=epsilon)
        moved = attack_images(net, pixels, labels, attack).pixels
        lost = (margins(net, pixels) - margins(net, moved)) * sides
        torch.testing.assert_close(lost, (epsilon * dual).expand(6), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("random_start", [False, True])
def test_results_stay_in_the_ball_and_the_range(task, norm, random_start):
    net, pixels, labels = task
    epsilon = 0.05 if norm == "linf" else 0.8
    for attack in (
        Attack(norm=norm, epsilon=epsilon, steps=1, step_size=3 * epsilon, random_start=random_start),
        pgd(epsilon, norm=norm, steps=5, random_start=random_start),
    ):
        moved = attack_images(net, pixels, labels, attack).pixels
        change = (moved - pixels).flatten(1)
        size = change.abs().amax(dim=1) if norm == "linf" else change.norm(dim=1)
        assert size.max() <= epsilon + 1e-6
        assert size.max() > 0.9 * epsilon
        assert moved.min() >= 0
        assert moved.max() <= 1


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_an_epsilon_of_zero_changes_nothing(task, norm):
    net, pixels, labels = task
    for attack in (fgsm(0, norm), pgd(0, norm=norm, random_start=True), pgd(0, norm=norm, step_size=0.1)):
        outcome = attack_images(net, pixels, labels, attack)
        assert torch.equal(outcome.pixels, pixels)
        assert torch.equal(outcome.fooled, net(pixels).argmax(dim=1) != labels)


@pytest.mark.parametrize("epsilon", EPSILONS)
def test_many_steps_do_no_worse_than_one(task, epsilon):
    net, pixels, labels = task
    one = attack_images(net, pixels, labels, fgsm(epsilon))
    many = attack_images(net, pixels, labels, pgd(epsilon, steps=20))
    assert accuracy(many) <= accuracy(one)


def test_a_larger_epsilon_lowers_accuracy(task):
    net, pixels, labels = task
    accuracies = [accuracy(attack_images(net, pixels, labels, pgd(epsilon))) for epsilon in (0, 0.01, 0.08)]
    assert accuracies[0] > 0.9
    assert accuracies[0] > accuracies[1] > accuracies[2] == 0


def test_restarts_keep_the_worst_of_each_image(task):
    net, pixels, labels = task
    # Random points only, some of which fool the model.
    attack = Attack(epsilon=0.2, steps=1, step_size=0, random_start=True)
    several = dataclasses.replace(attack, restarts=4)
    worst = attack_images(net, pixels, labels, several, seed=5)
    first = attack_images(net, pixels, labels, attack, seed=5)
    # The first start is the same with restarts and without, and is one of the candidates.
    assert (worst.fooled | ~first.fooled).all()
    assert worst.fooled.sum() > first.fooled.sum()
    assert torch.equal(worst.fooled, net(worst.pixels).argmax(dim=1) != labels)
    losses = [F.cross_entropy(net(outcome.pixels), labels, reduction="none") for outcome in (worst, first)]
    unchanged = worst.fooled == first.fooled
    assert (losses[0][unchanged] >= losses[1][unchanged] - 1e-6).all()


def test_random_starts_depend_on_seed_and_index_not_on_the_batch(task):
    net, pixels, labels = task
    attack = pgd(0.03, steps=2, random_start=True, restarts=2)
    whole = attack_images(net, pixels, labels, attack, seed=3).pixels
    part = attack_images(net, pixels[40:60], labels[40:60], attack, seed=3, indices=torch.arange(40, 60)).pixels
    torch.testing.assert_close(part, whole[40:60], rtol=0, atol=1e-6)
    assert not torch.equal(attack_images(net, pixels, labels, attack, seed=4).pixels, whole)


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_random_starts_are_uniform_in_the_ball(norm):
    """For a uniform point of a ball in d dimensions, (radius / epsilon)^d is uniform; each coordinate has mean 0."""
    captured = []

    def model(pixels):
        captured.append(pixels.detach().clone())
        return torch.stack([pixels.sum(dim=(1, 2, 3)), -pixels.sum(dim=(1, 2, 3))], dim=1)

    count, epsilon = 4000, 0.1
    center = torch.full((count, 1, 1, 3), 0.5)
    attack = Attack(norm=norm, epsilon=epsilon, steps=1, step_size=0, random_start=True)
    attack_images(model, center, torch.zeros(count, dtype=torch.int64), attack)
    change = (captured[0] - center).flatten(1) / epsilon
    reach = change.abs().amax(dim=1) if norm == "linf" else change.norm(dim=1)
    assert reach.max() <= 1 + 1e-5
    bound = 5 / math.sqrt(count)  # at least five standard errors: no coordinate has a deviation above 1
    assert (reach**3).mean().item() == pytest.approx(0.5, abs=bound)
    assert (reach**6).mean().item() == pytest.approx(1 / 3, abs=bound)
    assert change.mean(dim=0).abs().max() < bound
    assert (change[:, 0] * change[:, 1]).mean().abs() < bound


def test_a_confident_model_has_a_gradient_direction_in_l2():
    # Gradients near 1e-25 have a direction, although their squares are zero in float32.
    def model(pixels):
        return 55 * torch.stack([pixels.sum(dim=(1, 2, 3)), -pixels.sum(dim=(1, 2, 3))], dim=1)

    pixels = torch.full((1, 1, 1, 2), 0.26)
    moved = attack_images(model, pixels, torch.tensor([0]), fgsm(0.1, "l2"))
    torch.testing.assert_close((pixels - moved.pixels).norm(), torch.tensor(0.1), rtol=1e-5, atol=0)
    assert not moved.zero_gradient.any()


def test_parameters_get_no_gradients_and_the_model_does_not_change(task):
    trained, pixels, labels = task
    net = copy.deepcopy(trained)
    net.zero_grad()
    before = {key: value.clone() for key, value in net.state_dict().items()}
    with torch.no_grad():  # evaluation code disables gradients
        attack_images(net, pixels, labels, pgd(0.01))
    assert all(parameter.grad is None for parameter in net.parameters())
    assert all(torch.equal(value, before[key]) for key, value in net.state_dict().items())
    assert not pixels.requires_grad


@pytest.mark.parametrize("channels", [1, 3])
def test_a_classifier_accepts_floats_like_bytes(channels):
    torch.manual_seed(0)
    classifier = create_classifier("tiny_resnet", classes=("a", "b", "c"), channels=channels, size=8).eval()
    pixels = torch.randint(0, 256, (16, channels, 8, 8), dtype=torch.uint8)
    pixels[0], pixels[1] = 0, 255
    unit = UnitPixels(classifier)
    torch.testing.assert_close(unit(pixels / 255), classifier(pixels), rtol=1e-5, atol=1e-6)
    outcome = attack_images(unit, pixels / 255, torch.zeros(16, dtype=torch.int64), pgd(8 / 255))
    assert (outcome.pixels - pixels / 255).abs().max() == pytest.approx(8 / 255, abs=1e-6)
    with pytest.raises(ModelError, match="UnitPixels is in training mode"):
        attack_images(UnitPixels(classifier.train()), pixels / 255, torch.zeros(16, dtype=torch.int64), fgsm(0.1))


def test_training_mode_is_refused_in_any_submodule(task):
    _, pixels, labels = task
    partly = SmallNet().eval()
    partly.layers[2].train()
    for model in (SmallNet(), partly, partly.forward):
        with pytest.raises(ModelError, match=r"in training mode.*Call eval\(\)"):
            attack_images(model, pixels, labels, fgsm(0.1))


def test_a_model_without_gradients_is_refused(task):
    net, pixels, labels = task
    teacher = Teacher(create_classifier("tiny_resnet", classes=("a", "b", "c", "d"), channels=3, size=12))
    sizes = torch.full((len(pixels), 2), 12)
    with pytest.raises(ModelError, match="no gradient with respect to the pixels"):
        attack_images(lambda values: teacher((values * 255).byte(), sizes), pixels, labels, fgsm(0.1))
    with pytest.raises(ModelError, match="not finite"):
        attack_images(lambda values: net(values) * math.inf, pixels, labels, fgsm(0.1))


def test_invalid_pixels_and_labels_are_refused(task):
    net, pixels, labels = task
    normalized = (pixels - 0.5) / 0.25
    for wrong, advice in (
        (pixels * 255, r"from 0 to 255;.*from 0 to 1\. Divide 8-bit pixels by 255"),
        (normalized, r"from -2 to 2;.*look normalized: omit that, and put the normalization inside the model"),
        (torch.full_like(pixels, math.nan), "from nan to nan; they must be from 0 to 1"),
    ):
        with pytest.raises(DataError, match=advice):
            attack_images(net, wrong, labels, fgsm(0.1))
    for wrong in ((pixels * 255).byte(), pixels[0]):
        with pytest.raises(DataError, match="Divide uint8 pixels by 255"):
            attack_images(net, wrong, labels, fgsm(0.1))
    for wrong in (labels - 1, labels + 1):
        with pytest.raises(DataError, match="the model has the classes 0 to 3"):
            attack_images(net, pixels, wrong, fgsm(0.1))


def test_images_of_a_shape_that_the_model_cannot_take_are_refused(task):
    net, pixels, labels = task
    gray, small = pixels[:, :1], pixels[..., :8, :8]
    with pytest.raises(ModelError, match=r"SmallNet fails on .* shape \(80, 1, 12, 12\): .* layer takes 3 channels"):
        attack_images(net, gray, labels, fgsm(0.1))
    with pytest.raises(ModelError, match=r"shape \(80, 3, 8, 8\): .*mat1 and mat2 .* the channels and the size"):
        attack_images(net, small, labels, fgsm(0.1))
    flat = nn.Sequential(nn.Flatten(), nn.Linear(144 * 3, 4)).eval()
    with pytest.raises(ModelError, match=r"shape \(80, 3, 8, 8\): .* Its first layer takes 432 values"):
        attack_images(flat, small, labels, fgsm(0.1))
    # A classifier's network would accept both, by repeating the channel and at any size.
    classifier = create_classifier("tiny_resnet", classes=("a", "b", "c", "d"), channels=3, size=12).eval()
    for wrong in (gray, small):
        with pytest.raises(ModelError, match=r"takes images \[B, 3, 12, 12\] and was given \(80, "):
            attack_images(UnitPixels(classifier), wrong, labels, fgsm(0.1))

    def exhausted(_):
        raise torch.OutOfMemoryError("no memory left")

    with pytest.raises(torch.OutOfMemoryError, match="no memory left"):  # not caused by the shape
        attack_images(exhausted, pixels, labels, fgsm(0.1))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"epsilon": 4.0}, "Divide it by 255"),
        ({"epsilon": -0.1}, "epsilon of an attack is -0.1"),
        ({"epsilon": math.nan}, "epsilon of an attack is nan"),
        ({"step_size": math.inf}, "step size of an attack is inf"),
        ({"steps": 0}, "0 steps and 1 restarts"),
        ({"restarts": 2}, "Set random_start"),
        ({"norm": "l1"}, "must be 'linf' or 'l2', not 'l1'"),
    ],
)
def test_invalid_settings_are_refused(settings, message):
    with pytest.raises(SettingsError, match=message):
        Attack(**{"epsilon": 0.1, "steps": 10, "step_size": 0.02, **settings})


def test_an_empty_batch_is_returned_empty(task):
    net, pixels, labels = task
    for norm in ("linf", "l2"):
        assert len(attack_images(net, pixels[:0], labels[:0], pgd(0.1, norm=norm, random_start=True)).pixels) == 0
