"""The noise strength where a budget has no time to search for one.

From scratch, 0.5 is 4 points better than 0.25 on photographs (hand signs, waste), and level with it on clothes and
CIFAR-10; from pretrained weights the two are level (NOTEBOOK.md).
"""

from __future__ import annotations

from noisystudent.noise.settings import NoiseSettings

FROM_SCRATCH = 0.5


def strength_without_search(noise: NoiseSettings, *, tuned: bool) -> float:
    """The strength that is given; else of ``noise.strengths`` the weakest, from scratch the one closest to 0.5.

    Args:
        noise: The noise.
        tuned: The models start from pretrained weights.
    """
    if noise.strength != "auto":
        return noise.strength
    return min(noise.strengths, key=lambda strength: strength if tuned else abs(strength - FROM_SCRATCH))
