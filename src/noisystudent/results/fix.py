"""The result of a resolution fix: the model at its own size and at the larger one, before and after."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from noisystudent.evaluation.metrics.results import ScoresAtSize


@dataclass(frozen=True, slots=True, kw_only=True)
class FixScores:
    """The scores of a model at one size of its input, in pixels; ``fixed``: after the fix."""

    size: int
    fixed: bool
    validation: ScoresAtSize | None = None
    test: ScoresAtSize | None = None

    def scores(self, role: Literal["test", "validation"] | None) -> ScoresAtSize | None:
        """The scores on the source with this role, or None where there are none."""
        return None if role is None else (self.test if role == "test" else self.validation)


@dataclass(frozen=True, slots=True, kw_only=True)
class FixResult:
    """One fixed model.

    ``model``: its name in results; ``checkpoint``: the folder of the fixed model; ``trained_size`` and ``size``: of its
    input before and after, in pixels; ``ratio_before`` and ``ratio``: how large objects look in the test, relative to
    training, at these sizes (None where the training's crops are unknown); ``scores``: at both sizes before the fix,
    and at the larger one after it, where there are held-out images.
    """

    model: str
    checkpoint: str
    trained_size: int
    size: int
    ratio_before: float | None = None
    ratio: float | None = None
    scores: tuple[FixScores, ...] = ()
