"""Temperature scaling against closed forms, torch's LBFGS and scikit-learn's likelihood."""

import numpy as np
import pytest
import torch
from scipy.special import log_softmax, logit, softmax
from sklearn.metrics import log_loss

from noisystudent.errors import DataError
from noisystudent.evaluation.metrics.accuracy import top_k
from noisystudent.evaluation.metrics.calibration import negative_log_likelihood
from noisystudent.evaluation.metrics.scores import scaled_scores, score
from noisystudent.evaluation.metrics.temperature import apply_temperature, fit_temperature


def drawn(rows: int, classes: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Logits, and labels that are sampled from their softmax."""
    random = np.random.default_rng(seed)
    logits = 2 * random.normal(size=(rows, classes))
    return logits, (logits + random.gumbel(size=logits.shape)).argmax(axis=1)


def overconfident(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    logits, labels = drawn(400, 8, seed)
    return log_softmax(2.5 * logits, axis=1), labels


@pytest.mark.parametrize(("confidence", "correct"), [(0.99, 80), (0.6, 80), (0.9, 90), (0.9, 55)])
def test_two_classes_and_one_confidence_have_a_closed_form(confidence, correct):
    # At T every row has the confidence sigmoid(logit(c) / T), whose likelihood is largest if it equals the accuracy.
    values = np.log(np.tile([confidence, 1 - confidence], (100, 1)))
    labels = (np.arange(100) >= correct).astype(np.int64)
    assert fit_temperature(values, labels) == pytest.approx(logit(confidence) / logit(correct / 100), rel=1e-9)


@pytest.mark.parametrize("true", [0.4, 1.0, 2.5])
def test_the_temperature_that_logits_were_multiplied_by_is_recovered(true):
    rows = 50_000
    logits, labels = drawn(rows, 5)
    # The standard error of 1/T by Fisher's information, the mean variance of true * logits under calibrated p.
    p, scaled = softmax(logits, axis=1), true * logits
    information = ((p * scaled**2).sum(axis=1) - (p * scaled).sum(axis=1) ** 2).mean()
    error = 1 / np.sqrt(rows * information)
    assert error * true < 0.01
    fitted = fit_temperature(log_softmax(scaled, axis=1), labels)
    assert abs(1 / fitted - 1 / true) < 4 * error


@pytest.mark.parametrize("seed", range(3))
def test_it_matches_lbfgs(seed):
    values, labels = overconfident(seed)
    given, classes = torch.from_numpy(values), torch.from_numpy(labels)
    temperature = torch.ones((), dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS(
        [temperature], max_iter=200, tolerance_grad=1e-11, tolerance_change=1e-15, line_search_fn="strong_wolfe"
    )

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(given / temperature, classes)
        loss.backward()
        return loss

    optimizer.step(closure)
    assert fit_temperature(values, labels) == pytest.approx(temperature.item(), rel=1e-6)


@pytest.mark.parametrize("temperature", [0.8, 1.0, 1.9, 20.0])
def test_applying_a_temperature_takes_the_power_of_the_probabilities_and_normalizes(temperature):
    values, labels = overconfident()
    # Not below 0.8 here: scikit-learn clips probabilities at 2e-16.
    powers = np.exp(values) ** (1 / temperature)
    expected = powers / powers.sum(axis=1, keepdims=True)
    scaled = apply_temperature(values, temperature)
    np.testing.assert_allclose(np.exp(scaled), expected, rtol=1e-10)
    assert negative_log_likelihood(scaled, labels) == pytest.approx(log_loss(labels, expected, labels=range(8)))


@pytest.mark.parametrize(("rows", "classes"), [(1, 2), (3, 3), (20, 10), (300, 4)])
@pytest.mark.parametrize("seed", range(5))
def test_no_temperature_of_the_range_has_a_better_likelihood(rows, classes, seed):
    random = np.random.default_rng(seed)
    values = log_softmax(3 * random.normal(size=(rows, classes)), axis=1).astype(np.float32)
    labels = random.integers(0, classes, rows)
    best = negative_log_likelihood(apply_temperature(values, fit_temperature(values, labels)), labels)
    others = [
        negative_log_likelihood(apply_temperature(values, temperature), labels)
        for temperature in [1, *np.geomspace(0.05, 20, 100)]
    ]
    assert best <= min(others) + 1e-12


@pytest.mark.parametrize("temperature", [0.05, 0.5, 3.0, 20.0])
def test_the_order_of_classes_does_not_change(temperature):
    values, labels = overconfident()
    values = values.astype(np.float32)
    scaled = apply_temperature(values, temperature)
    np.testing.assert_array_equal(scaled.argsort(axis=1, kind="stable"), values.argsort(axis=1, kind="stable"))
    assert [top_k(scaled, labels, k) for k in range(1, 9)] == [top_k(values, labels, k) for k in range(1, 9)]


def test_an_optimum_outside_the_range_gives_the_nearer_end():
    sure = log_softmax(5 * np.eye(4), axis=1)
    correct, wrong = np.arange(4), np.roll(np.arange(4), 1)
    assert fit_temperature(sure, correct) == 0.05
    assert fit_temperature(sure, wrong) == 20.0
    # The closed form for two classes, on either side of an end: logit(c) / logit(0.9) against 20.
    labels = (np.arange(10) >= 9).astype(np.int64)
    for optimum, fitted in ((19.9, 19.9), (20.1, 20.0)):
        margins = np.tile([optimum * logit(0.9), 0.0], (10, 1))
        assert fit_temperature(margins, labels) == pytest.approx(fitted, rel=1e-9)


def test_equally_good_temperatures_give_one():
    assert fit_temperature(np.full((6, 4), np.log(0.25)), np.arange(6) % 4) == 1.0
    assert fit_temperature(np.array([[0.0, -1e6], [-1e6, 0.0]]), np.array([0, 1])) == 1.0


def test_logits_work_as_well_as_log_probabilities():
    logits, labels = drawn(300, 6)
    shifted = logits + np.arange(300)[:, None]
    assert fit_temperature(shifted, labels) == pytest.approx(fit_temperature(log_softmax(logits, axis=1), labels))


def test_scaled_scores_are_the_scores_of_scaled_rows():
    values, labels = overconfident()
    temperature = fit_temperature(values, labels)
    scaled = scaled_scores(values, labels, temperature)
    direct = score(apply_temperature(values, temperature), labels, [str(k) for k in range(8)])
    assert scaled == {"temperature": temperature, **{name: getattr(direct, name) for name in ("ece", "nll", "brier")}}
    before = score(values, labels, [str(k) for k in range(8)])
    assert scaled["nll"] < before.nll
    assert scaled["ece"] < before.ece
    assert direct.top1 == before.top1


def test_no_rows_and_values_that_are_not_finite_are_refused():
    with pytest.raises(DataError, match="no rows to fit a temperature on"):
        fit_temperature(np.zeros((0, 3)), np.zeros(0, np.int64))
    for bad in (np.nan, -np.inf):
        values = np.log(np.full((3, 2), 0.5))
        values[1, 1] = bad
        with pytest.raises(DataError, match="Row 1 has a log-probability that is not finite"):
            fit_temperature(values, np.array([0, 0, 0]))
