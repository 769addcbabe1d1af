"""Temperature scaling: one number, fitted on labeled rows, that brings a classifier's confidence to its accuracy.

Guo et al. 2017, "On Calibration of Modern Neural Networks", section 4.2. The order of the classes in a row stays as it
is, and with it every prediction. Log-probabilities do as well as logits: they differ by a constant a row, which the
softmax takes away.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.optimize import brentq
from scipy.special import log_softmax, softmax

from noisystudent.errors import DataError

Floats = npt.NDArray[np.floating]
Ints = npt.NDArray[np.int64]

TEMPERATURES = (0.05, 20.0)  # the range in which a temperature is sought


def fit_temperature(log_probabilities: Floats, labels: Ints) -> float:
    """The temperature at which log-probabilities [N, K] of labeled rows have the least negative log-likelihood.

    The mean over rows of -log p(true class), with probabilities p^(1/T) made to sum to 1, is convex in 1/T; the root of
    its derivative is found by Brent's method, for T from 0.05 to 20. Where the optimum lies beyond an end, that end is
    the answer: 0.05 for a classifier that is right on all rows, as no confidence is too much for it; 20 for one that
    an even guess would beat. Where all temperatures are as good, as for rows of equal probabilities, it is 1.

    Raises ``DataError`` without rows, or where a log-probability is not finite.
    """
    if not len(labels):
        raise DataError("There are no rows to fit a temperature on. Give labeled images that can be read.")
    finite = np.isfinite(log_probabilities).all(axis=1)
    if not finite.all():
        raise DataError(
            f"Row {int(np.argmin(finite))} has a log-probability that is not finite, and a temperature is fitted on "
            "finite ones. Check the classifier; from probabilities, clip them above 0 first."
        )
    values = log_probabilities.astype(np.float64)
    margins = values - values[np.arange(len(labels)), labels][:, None]

    def slope(inverse: float) -> float:
        """The derivative by 1/T: the mean over rows of the margin that is expected under p^(1/T); it never falls."""
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
    """Log-probabilities [N, K] at another temperature: the logarithm of p^(1/T), made to sum to 1 in each row.

    The temperature is one for all, or one for each row, [N, 1].
    """
    scaled: npt.NDArray[np.float64] = log_softmax(log_probabilities.astype(np.float64) / temperature, axis=1)
    return scaled
