"""A user's own parts in a run: objective, selection, model and noise as Python callables.

A callable is named among the inputs of every stage that it affects, so a killed run goes on only with the same one. The
name is its own ``name`` and ``version`` where it has these attributes, else its qualified name and a digest of its
source. What a function reads from elsewhere (globals, closures, files) is not seen: give it a ``version`` and raise
that.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from noisystudent.artifacts.callables import describe
from noisystudent.config import Resolved
from noisystudent.data.source import Source
from noisystudent.data.splits import DataSplits
from noisystudent.errors import SettingsError, TrainingError
from noisystudent.losses.objectives import LossTerms
from noisystudent.models.factory import ModelFactory, build_from_factory, name_of
from noisystudent.models.wrapped_module import gives_features
from noisystudent.noise.custom import BatchTransform
from noisystudent.pseudo_labels.selection.custom import SelectRows
from noisystudent.training.loader import Batch

ObjectiveFunction = Callable[[Tensor, Batch], Tensor | LossTerms]
"""From logits [B, K] and their batch to the loss, a scalar, alone or with the named terms that it is made of."""


@dataclass(frozen=True)
class Extensions:
    """A user's own parts; None where the package's own are used. ``sources``: the user's own sources by role."""

    objective: ObjectiveFunction | None = None
    select: SelectRows | None = None
    model: ModelFactory | None = None
    noise: BatchTransform | None = None
    sources: Mapping[str, Source] = field(default_factory=dict)

    def described(self) -> dict[str, str]:
        """The parts that are given, by what they replace: a text that identifies each."""
        parts = {"objective": self.objective, "select": self.select, "model": self.model, "noise": self.noise}
        described = {role: identity_of(part) for role, part in parts.items() if part is not None}
        return described | {role: f"a {type(source).__name__}" for role, source in self.sources.items()}

    def check(self, resolved: Resolved) -> None:
        """Raises ``SettingsError`` for settings that the user gave and that one of these parts replaces."""
        replaced = {
            "objective": (self.objective, ("objective.weighting", "objective.logit_adjustment", "distillation.")),
            "select": (self.select, ("selection.",)),
            "model": (self.model, ("model.",)),
        }
        for role, (part, prefixes) in replaced.items():
            names = sorted(name for name in resolved.explicit if name.startswith(prefixes))
            if part is not None and names:
                raise SettingsError(
                    f"{', '.join(names)} would have no effect beside {role}={identity_of(part)}; leave out one of the "
                    "two."
                )

    def why_no_features(self, splits: DataSplits) -> str | None:
        """Why the user's own networks give no features for the images of a run; None where networks give them."""
        if self.model is None:
            return None
        classes, format = len(splits.classes), splits.format
        net = build_from_factory(self.model, classes=classes, channels=format.channels, size=format.size)
        if gives_features(net):
            return None
        return (
            f"images are compared in the features of a network, and a {type(net).__name__} of model="
            f"{name_of(self.model)} lacks forward_features(x) or forward_head(x, pre_logits=True), which timm's "
            "networks have"
        )


NO_EXTENSIONS = Extensions()


def identity_of(part: Callable[..., Any]) -> str:
    """Text that identifies a callable: ``name version`` where it says so itself, else its name and a digest of its
    source.

    Raises ``SettingsError`` for what cannot be called.
    """
    if not callable(part):
        raise SettingsError(f"{part!r} is not callable; give a function, or an object with a __call__ method.")
    name, version = getattr(part, "name", None), getattr(part, "version", None)
    return f"{name} {version}" if isinstance(name, str) and version is not None else describe(part)


class CheckedObjective:
    """A user's objective, whose results are checked at every call."""

    def __init__(self, function: ObjectiveFunction, stage: str) -> None:
        self._function, self._stage = function, stage

    def __call__(self, logits: Tensor, batch: Batch) -> LossTerms:
        """The loss of a batch; raises ``TrainingError`` for anything but a finite scalar that depends on the logits."""
        result = self._function(logits, batch)
        terms = result if isinstance(result, LossTerms) else LossTerms(result, {})
        loss = terms.loss
        if not isinstance(loss, Tensor) or loss.ndim or not loss.requires_grad:
            shown = f"shape {list(loss.shape)}" if isinstance(loss, Tensor) else type(loss).__name__
            detached = isinstance(loss, Tensor) and not loss.ndim
            raise TrainingError(
                f"the objective {identity_of(self._function)} gave "
                f"{'a loss that does not depend on the logits' if detached else f'a loss of {shown}'} in stage "
                f"{self._stage}; it must return a scalar tensor, or LossTerms with one, computed from the logits."
            )
        if batch.step == 0 and not torch.isfinite(loss.detach()):
            rows = f"{batch.labeled} labeled and {len(logits) - batch.labeled} pseudo-labeled rows"
            raise TrainingError(
                f"the objective {identity_of(self._function)} gave {float(loss.detach())} at the first step of stage "
                f"{self._stage}, on a batch of {rows}. The mean of no rows is NaN: teacher and control have labeled "
                "rows only, so leave out a term whose rows are missing."
            )
        return terms
