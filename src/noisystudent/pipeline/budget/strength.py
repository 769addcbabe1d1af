"""The noise strength where a budget has no time to search for one.

From scratch, 0.5 is up to 4 points better than 0.25 where a training on the labels would see each of them often, as
hand signs 192 times and more. Seen 128 times and fewer, waste, clothes and CIFAR-10 are 0 to 3 points worse with it.
From pretrained weights the two are level (NOTEBOOK.md).
"""

from __future__ import annotations

from noisystudent.noise.settings import NoiseSettings

STRENGTH_FROM_SCRATCH = 0.5
FEWEST_LOOKS = 150  # at each label, below which the weakest noise is better


def strength_without_search(noise: NoiseSettings, *, looks: float, tuned: bool) -> float:
    """The strength that is given; else one of ``noise.strengths``: that closest to 0.5, or the weakest.

    Args:
        noise: The noise.
        looks: How often a training on labels alone would see each of them in the same time.
        tuned: The models start from pretrained weights, for which the weakest is enough.
    """
    if noise.strength != "auto":
        return noise.strength
    if tuned or looks < FEWEST_LOOKS:
        return min(noise.strengths)
    return min(noise.strengths, key=lambda strength: abs(strength - STRENGTH_FROM_SCRATCH))
