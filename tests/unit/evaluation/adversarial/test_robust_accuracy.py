"""Accuracy under attack, counted over streams, and the warnings, each by a model that deserves it."""

import json
import math

import pytest
import torch

from noisystudent.errors import DataError, ModelError
from noisystudent.evaluation.adversarial.attacks import Attack, attacked, fgsm, pgd
from noisystudent.evaluation.adversarial.robust_accuracy import robust_accuracies


def brightness(pixels):
    """Class 1 when the mean of the pixels is above a half: each image's margin is its mean's distance from it."""
    score = 20 * (pixels.mean(dim=(1, 2, 3)) - 0.5)
    return torch.stack([-score, score], dim=1)


def images(means):
    return torch.tensor(means, dtype=torch.float32)[:, None, None, None].expand(-1, 1, 4, 4).clone()


# Of six, the model has four right without an attack; by 0.15 two more fall, by 0.25 all but one.
MEANS = [0.9, 0.6, 0.3, 0.4, 0.45, 0.7]
LABELS = torch.tensor([1, 1, 0, 0, 1, 0])


def report_on(model, attacks, *, size=6):
    pixels = images(MEANS)
    batches = ((pixels[i : i + size], LABELS[i : i + size]) for i in range(0, 6, size))
    return robust_accuracies(model, batches, attacks)


def test_accuracy_is_over_all_and_success_among_the_right_ones():
    report = report_on(brightness, [pgd(0.05), pgd(0.15), pgd(0.25), pgd(0.45)])
    assert report.clean_accuracy == 4 / 6
    assert [outcome.robust_accuracy for outcome in report.results] == [4 / 6, 2 / 6, 1 / 6, 0]
    assert [outcome.success_rate for outcome in report.results] == [0, 2 / 4, 3 / 4, 1]
    assert report.image == (1, 4, 4)
    assert report.warnings == ()


def test_the_file_has_all_that_must_be_said():
    held = json.loads(json.dumps(report_on(brightness, [fgsm(0.15)]).as_json()))
    (found,) = held["attacks"]
    assert found == {
        "norm": "linf",
        "epsilon": 0.15,
        "steps": 1,
        "step_size": 0.15,
        "random_start": False,
        "restarts": 1,
        "robust_accuracy": pytest.approx(2 / 6),
        "robust_accuracy_standard_error": pytest.approx(math.sqrt(2 / 6 * 4 / 6 / 6)),
        "success_rate": 0.5,
        "success_rate_standard_error": pytest.approx(math.sqrt(0.5 * 0.5 / 4)),
    }
    assert held["count"] == 6
    assert held["image"] == [1, 4, 4]
    assert held["clean_accuracy_standard_error"] == pytest.approx(math.sqrt(4 / 6 * 2 / 6 / 6))


@pytest.mark.parametrize("size", [1, 2, 4])
def test_batches_change_nothing(size):
    attacks = [fgsm(0.15), pgd(0.15, steps=2, random_start=True, restarts=2)]
    assert report_on(brightness, attacks, size=size) == report_on(brightness, attacks)


def test_batches_are_taken_one_at_a_time():
    given = []

    def batches():
        for i in range(3):
            assert len(given) == i
            yield images(MEANS[:2]), LABELS[:2]

    def model(pixels):
        if not given or given[-1] is not pixels:
            given.append(pixels)
        return brightness(pixels)

    # Without attacks a batch is asked once, and the first one twice, for the warnings.
    assert robust_accuracies(model, batches(), []).count == 6


def test_a_random_start_goes_by_the_place_of_a_image_in_the_stream():
    attack = pgd(0.2, steps=1, step_size=0, random_start=True)
    seen = []

    def model(pixels):
        seen.append(pixels.detach().clone())
        return brightness(pixels)

    correct = torch.tensor([0, 1, 2, 3])
    robust_accuracies(model, [(images(MEANS[:3]), LABELS[:3]), (images(MEANS[3:]), LABELS[3:])], [attack], seed=9)
    whole = attacked(brightness, images(MEANS)[correct], LABELS[correct], attack, seed=9, indices=correct).pixels
    # Of the second batch the model has only its first image right, and that is the last thing it was asked.
    assert torch.equal(seen[-1], whole[3:])


def test_a_model_that_is_always_wrong_has_no_success_rate():
    report = robust_accuracies(brightness, [(images([0.9, 0.1]), torch.tensor([0, 1]))], [fgsm(0.1)])
    assert report.results[0].success_rate is None
    assert report.results[0].as_json()["success_rate_standard_error"] is None
    assert report.results[0].robust_accuracy == 0


def test_no_images_and_training_mode_are_refused():
    with pytest.raises(DataError, match="no images to attack"):
        robust_accuracies(brightness, [(images([]), LABELS[:0])], [fgsm(0.1)])
    with pytest.raises(ModelError, match="training mode"):
        robust_accuracies(torch.nn.Flatten(), [(images(MEANS), LABELS)], [fgsm(0.1)])


def test_images_are_looked_at_before_the_model_is_asked():
    # Of these, the model has none right, and so none would be attacked.
    with pytest.raises(DataError, match="put the normalization inside the model"):
        robust_accuracies(brightness, [(images(MEANS) - 0.5, 1 - LABELS)], [fgsm(0.1)])
    with pytest.raises(ModelError, match=r"shape \(6, 1, 4, 4\): .* takes 3 channels"):
        robust_accuracies(torch.nn.Conv2d(3, 2, 1).eval(), [(images(MEANS), LABELS)], [fgsm(0.1)])


def warnings_of(model, attacks):
    return " ".join(report_on(model, attacks).warnings)


def test_probabilities_are_noticed():
    assert "look like probabilities" in warnings_of(lambda pixels: brightness(pixels).softmax(dim=1), [fgsm(0.1)])


def test_chance_in_the_answers_is_noticed():
    torch.manual_seed(0)
    assert "asked again" in warnings_of(lambda pixels: brightness(pixels) + torch.randn(len(pixels), 2), [fgsm(0.1)])


def test_gradients_of_zero_are_noticed():
    # So sure that the loss of the true class is 0 in float32: the same decisions, and no way down.
    warned = warnings_of(lambda pixels: 1000 * brightness(pixels), [pgd(0.3)])
    assert "On 4 of 4 attacked images the loss has no gradient" in warned


def test_many_steps_that_do_worse_than_one_are_noticed():
    warned = warnings_of(brightness, [fgsm(0.25), pgd(0.25, steps=5, step_size=0.001)])
    assert "one step leaves 0.1667 right and 5 steps leave 0.6667" in warned
    assert warnings_of(brightness, [fgsm(0.25), pgd(0.25)]) == ""
    # From balls of other sizes nothing follows.
    assert warnings_of(brightness, [fgsm(0.25), pgd(0.2, steps=5, step_size=0.001)]) == ""


def test_robustness_beyond_all_bounds_is_noticed():
    def warned(*attacks):
        batches = [(images(MEANS), LABELS)] * 20
        return " ".join(robust_accuracies(brightness, batches, attacks).warnings)

    for epsilon, norm in ((0.5, "linf"), (2.0, "l2")):  # 16 pixels, each by a half: 2 in l2
        stuck = pgd(epsilon, norm=norm, steps=2, step_size=0.001)
        assert "any image can become an even gray, and still 0.6667 are right, where chance is 0.5" in warned(stuck)
        assert warned(pgd(epsilon, norm=norm)) == ""
        assert warned(pgd(0.9 * epsilon, norm=norm, steps=2, step_size=0.001)) == ""
    # One step of that length is known to overshoot, and proves nothing.
    assert warned(Attack(epsilon=0.5, steps=1, step_size=0.001)) == ""
