"""Temperature scaling: one number, fitted on labeled images, that matches a classifier's confidence to its accuracy.

Guo et al. 2017, "On Calibration of Modern Neural Networks", section 4.2. The order of the classes in a row does not
change, so no prediction changes. Log-probabilities work as well as logits: they differ by a constant per row, which
the softmax removes.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.optimize import brentq
from scipy.special import log_softmax, softmax

from noisystudent.errors import DataError
from noisystudent.models.calibration import TEMPERATURES

Floats = npt.NDArray[np.floating]
Ints = npt.NDArray[np.int64]


def fit_temperature(log_probabilities: Floats, labels: Ints) -> float:
    """Fits the temperature with the smallest negative log-likelihood on labeled images.

    The mean of -log p(true class) over rows, with probabilities p^(1/T) normalized per row, is convex in 1/T; Brent's
    method finds the root of its derivative for T from 0.05 to 20. If the optimum lies outside this range, the result
    is the nearer end: 0.05 for a classifier that is correct on all rows, 20 for one that is worse than a uniform guess.
    If all temperatures are equally good, as for rows of equal probabilities, the result is 1.

    Args:
        log_probabilities: log-probabilities or logits [N, K].
        labels: true classes [N].

    Returns:
        The temperature.

    Raises:
        DataError: there are no rows, or a log-probability is not finite.
    """
    if not len(labels):
        raise DataError("There are no rows to fit a temperature on. Give labeled images that can be read.")
    finite = np.isfinite(log_probabilities).all(axis=1)
    if not finite.all():
        raise DataError(
            f"Row {int(np.argmin(finite))} has a log-probability that is not finite; fitting a temperature needs "
            "finite values. Check the classifier; if the values come from probabilities, clip these above 0 first."
        )
    values = log_probabilities.astype(np.float64)
    margins = values - values[np.arange(len(labels)), labels][:, None]

    def slope(inverse: float) -> float:
        """The derivative with respect to 1/T: the mean over rows of the expected margin; it never decreases."""
        return float(np.einsum("nk,nk->", softmax(margins * inverse, axis=1), margins)) / len(margins)

    coldest, hottest = TEMPERATURES
    at_hottest, at_coldest = slope(1 / hottest), slope(1 / coldest)
    if at_hottest == at_coldest == 0:
        return 1.0
    if at_coldest <= 0:
        return coldest
    if at_hottest >= 0:
        return hottest
    return 1 / float(brentq(slope, 1 / hottest, 1 / coldest, xtol=1e-12))


def apply_temperature(log_probabilities: Floats, temperature: float | Floats) -> npt.NDArray[np.float64]:
    """Log-probabilities at a temperature: the logarithm of p^(1/T), normalized per row.

    Args:
        log_probabilities: log-probabilities or logits [N, K].
        temperature: one temperature for all rows, or one per row [N, 1].

    Returns:
        Log-probabilities, float64 [N, K].
    """
    scaled: npt.NDArray[np.float64] = log_softmax(log_probabilities.astype(np.float64) / temperature, axis=1)
    return scaled
