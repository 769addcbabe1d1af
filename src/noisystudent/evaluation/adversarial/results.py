"""The accuracy of a model under attack, as dataclasses (``robustness.json``, under ``attacks``)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from noisystudent.artifacts.typed_json import Finite


@dataclass(frozen=True, slots=True, kw_only=True)
class AttackPoint:
    """Top-1 accuracy under each attack at one ``epsilon``, in steps of 255, with standard errors over images.

    The accuracy under AutoAttack is None unless ``evaluation.autoattack`` is set.
    """

    epsilon: Finite
    fgsm: Finite
    fgsm_standard_error: Finite
    pgd: Finite
    pgd_standard_error: Finite
    autoattack: Finite | None = None
    autoattack_standard_error: Finite | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AttackResult:
    """The accuracy of a model against the strength of attacks; images that are wrong without an attack count as wrong.

    Attributes:
        norm: the norm that bounds the change of an image.
        steps: the steps of PGD.
        step_size: the step size of PGD as a fraction of epsilon.
        restarts: the random starts of PGD; 1 starts at the image itself.
        count: the attacked images.
        image: channels, height and width of an attacked image.
        clean: the accuracy without an attack, as a fraction.
        curve: the accuracies by epsilon.
        warnings: reasons why the accuracies may be too high, such as masked gradients.
    """

    norm: Literal["linf", "l2"]
    steps: int
    step_size: Finite
    restarts: int
    count: int
    image: tuple[int, int, int]
    clean: Finite
    curve: tuple[AttackPoint, ...]
    warnings: tuple[str, ...] = ()
