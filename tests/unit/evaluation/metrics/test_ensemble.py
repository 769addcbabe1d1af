"""The mean of an ensemble's predictions, arithmetic and geometric, against its definition."""

import numpy as np
import pytest

from noisystudent.evaluation.metrics.ensemble import mean_log_probabilities


@pytest.mark.parametrize("mean", ["arithmetic", "geometric"])
def test_means_of_log_probabilities(mean):
    random = np.random.default_rng(0)
    members = [np.log(random.dirichlet(np.ones(5), 7)) for _ in range(3)]
    weighted = list(zip((0.25, 0.5, 0.25), members, strict=True))
    if mean == "arithmetic":
        expected = sum(weight * np.exp(member) for weight, member in weighted)
    else:
        product = np.prod([np.exp(member) ** weight for weight, member in weighted], axis=0)
        expected = product / product.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(np.exp(mean_log_probabilities(members, (1, 2, 1), mean)), expected, rtol=1e-5)
