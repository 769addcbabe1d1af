"""The noise strength of a run whose budget searches for none."""

import pytest

from noisystudent.noise.settings import NoiseSettings
from noisystudent.pipeline.budget.strength import FEWEST_LOOKS, strength_without_search


@pytest.mark.parametrize(
    ("given", "from_scratch", "weakest"),
    [
        ({}, 0.5, 0.25),
        ({"strengths": (0.1, 0.8)}, 0.8, 0.1),
        ({"strengths": (1.0,)}, 1.0, 1.0),
        ({"strength": 1.0}, 1.0, 1.0),
        ({"strength": 0.0}, 0.0, 0.0),
    ],
)
def test_a_network_from_scratch_takes_more_noise_than_pretrained_weights_or_labels_seen_rarely(
    given, from_scratch, weakest
):
    noise = NoiseSettings(**given)
    assert strength_without_search(noise, looks=FEWEST_LOOKS, tuned=False) == from_scratch
    assert strength_without_search(noise, looks=FEWEST_LOOKS - 1, tuned=False) == weakest
    assert strength_without_search(noise, looks=FEWEST_LOOKS, tuned=True) == weakest
