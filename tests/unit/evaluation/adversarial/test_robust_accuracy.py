"""Accuracy under attack over a stream of images, and each warning with a model that causes it."""

import json
import math

import pytest
import torch

from noisystudent.errors import DataError, ModelError
from noisystudent.evaluation.adversarial.attacks import Attack, attack_images, fgsm, pgd
from noisystudent.evaluation.adversarial.robust_accuracy import robust_accuracies


def brightness(pixels):
    """Predicts class 1 if the mean pixel is above 0.5; the margin of an image is the mean's distance from 0.5."""
    score = 20 * (pixels.mean(dim=(1, 2, 3)) - 0.5)
    return torch.stack([-score, score], dim=1)


def images(means):
    return torch.tensor(means, dtype=torch.float32)[:, None, None, None].expand(-1, 1, 4, 4).clone()


# Without an attack four of six are correct; with an epsilon of 0.15 two of these, with 0.25 only one.
MEANS = [0.9, 0.6, 0.3, 0.4, 0.45, 0.7]
LABELS = torch.tensor([1, 1, 0, 0, 1, 0])


def report_on(model, attacks, *, size=6):
    pixels = images(MEANS)
    batches = ((pixels[i : i + size], LABELS[i : i + size]) for i in range(0, 6, size))
    return robust_accuracies(model, batches, attacks)


def test_accuracy_is_over_all_images_and_success_over_the_correct_ones():
    report = report_on(brightness, [pgd(0.05), pgd(0.15), pgd(0.25), pgd(0.45)])
    assert report.clean_accuracy == 4 / 6
    assert [outcome.robust_accuracy for outcome in report.results] == [4 / 6, 2 / 6, 1 / 6, 0]
    assert [outcome.success_rate for outcome in report.results] == [0, 2 / 4, 3 / 4, 1]
    assert report.image == (1, 4, 4)
    assert report.warnings == ()


def test_the_report_has_settings_results_and_standard_errors():
    stored = json.loads(json.dumps(report_on(brightness, [fgsm(0.15)]).as_json()))
    (row,) = stored["attacks"]
    assert row == {
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
    assert stored["count"] == 6
    assert stored["image"] == [1, 4, 4]
    assert stored["clean_accuracy_standard_error"] == pytest.approx(math.sqrt(4 / 6 * 2 / 6 / 6))


@pytest.mark.parametrize("size", [1, 2, 4])
def test_results_do_not_depend_on_batches(size):
    attacks = [fgsm(0.15), pgd(0.15, steps=2, random_start=True, restarts=2)]
    assert report_on(brightness, attacks, size=size) == report_on(brightness, attacks)


def test_batches_are_read_one_at_a_time():
    given = []

    def batches():
        for i in range(3):
            assert len(given) == i
            yield images(MEANS[:2]), LABELS[:2]

    def model(pixels):
        if not given or given[-1] is not pixels:
            given.append(pixels)
        return brightness(pixels)

    # Without attacks a batch is predicted once, the first one twice for the warnings.
    assert robust_accuracies(model, batches(), []).count == 6


def test_a_random_start_depends_on_the_position_of_an_image_in_the_stream():
    attack = pgd(0.2, steps=1, step_size=0, random_start=True)
    seen = []

    def model(pixels):
        seen.append(pixels.detach().clone())
        return brightness(pixels)

    correct = torch.tensor([0, 1, 2, 3])
    robust_accuracies(model, [(images(MEANS[:3]), LABELS[:3]), (images(MEANS[3:]), LABELS[3:])], [attack], seed=9)
    whole = attack_images(brightness, images(MEANS)[correct], LABELS[correct], attack, seed=9, indices=correct).pixels
    # In the second batch only the first image is correct, and it is the last one that the model predicts.
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


def test_images_are_checked_before_the_model_runs():
    # The model gets none of these right, so none would be attacked.
    with pytest.raises(DataError, match="put the normalization inside the model"):
        robust_accuracies(brightness, [(images(MEANS) - 0.5, 1 - LABELS)], [fgsm(0.1)])
    with pytest.raises(ModelError, match=r"shape \(6, 1, 4, 4\): .* takes 3 channels"):
        robust_accuracies(torch.nn.Conv2d(3, 2, 1).eval(), [(images(MEANS), LABELS)], [fgsm(0.1)])


def warnings_of(model, attacks):
    return " ".join(report_on(model, attacks).warnings)


def test_probabilities_give_a_warning():
    assert "look like probabilities" in warnings_of(lambda pixels: brightness(pixels).softmax(dim=1), [fgsm(0.1)])


def test_random_outputs_give_a_warning():
    torch.manual_seed(0)
    assert "differ between two calls" in warnings_of(
        lambda pixels: brightness(pixels) + torch.randn(len(pixels), 2), [fgsm(0.1)]
    )


def test_zero_gradients_give_a_warning():
    # So confident that the loss of the true class is 0 in float32: the same predictions, but no gradient.
    warned = warnings_of(lambda pixels: 1000 * brightness(pixels), [pgd(0.3)])
    assert "On 4 of 4 attacked images the gradient of the loss is zero" in warned


def test_many_steps_that_are_weaker_than_one_give_a_warning():
    warned = warnings_of(brightness, [fgsm(0.25), pgd(0.25, steps=5, step_size=0.001)])
    assert "accuracy is 0.1667 after one step, but 0.6667 after 5 steps" in warned
    assert warnings_of(brightness, [fgsm(0.25), pgd(0.25)]) == ""
    # Results with another epsilon are not compared.
    assert warnings_of(brightness, [fgsm(0.25), pgd(0.2, steps=5, step_size=0.001)]) == ""


def test_robustness_to_an_unbounded_attack_gives_a_warning():
    def warned(*attacks):
        batches = [(images(MEANS), LABELS)] * 20
        return " ".join(robust_accuracies(brightness, batches, attacks).warnings)

    for epsilon, norm in ((0.5, "linf"), (2.0, "l2")):  # all 16 pixels change by 0.5, which is 2 in l2
        stuck = pgd(epsilon, norm=norm, steps=2, step_size=0.001)
        assert "any image can become uniform gray, but accuracy is still 0.6667, where chance is 0.5" in warned(stuck)
        assert warned(pgd(epsilon, norm=norm)) == ""
        assert warned(pgd(0.9 * epsilon, norm=norm, steps=2, step_size=0.001)) == ""
    # One step of that length overshoots, so it gives no warning.
    assert warned(Attack(epsilon=0.5, steps=1, step_size=0.001)) == ""
