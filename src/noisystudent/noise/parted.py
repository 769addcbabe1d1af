"""Model noise that differs between the labeled and the pseudo-labeled rows of one batch.

The whole batch goes through the network at once, so that batch normalization sees both parts, as in the paper. Dropout
and stochastic depth draw per image, so each row may have its own rate. Labeled rows come first.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from timm.layers.drop import DropPath
from torch import Tensor, nn

from noisystudent.errors import ModelError
from noisystudent.noise.model import blocks_of, head_dropouts, model_noise, reads_drop_rate, set_model_noise


@dataclass(frozen=True)
class PartRates:
    """The drop rate of the first ``rows`` rows of a batch, and that of the others; 0 to below 1."""

    first: float
    others: float
    rows: int

    def kept(self, features: Tensor) -> Tensor:
        """The rate at which each row of ``features`` is kept: float32 [B, 1, ...]."""
        kept = torch.full((len(features),), 1.0 - self.others, device=features.device)
        kept[: self.rows] = 1.0 - self.first
        return kept.view(-1, *[1] * (features.ndim - 1))


class PartedDropPath(DropPath):
    """Stochastic depth with a rate per part of the batch; a branch that is kept is scaled by 1 / (1 - rate)."""

    def __init__(self, rates: PartRates) -> None:
        super().__init__(rates.first)
        self.rates = rates

    def forward(self, x: Tensor) -> Tensor:
        """The branch, dropped for each image independently; unchanged in evaluation mode."""
        if not self.training:
            return x
        kept = self.rates.kept(x)
        return x * (torch.bernoulli(kept) / kept).to(x.dtype)


class PartedDropout(nn.Dropout):
    """Dropout with a rate per part of the batch; what is kept is scaled by 1 / (1 - rate)."""

    def __init__(self, rates: PartRates) -> None:
        super().__init__(rates.first)
        self.rates = rates

    def forward(self, input: Tensor) -> Tensor:
        """The features, each dropped independently; unchanged in evaluation mode."""
        if not self.training:
            return input
        kept = self.rates.kept(input)
        return input * (torch.bernoulli(kept.expand(input.shape)) / kept).to(input.dtype)


@dataclass(frozen=True, eq=False)
class _BeforeLayer:
    """Applies dropout to the input of a layer, as a hook; an object, so that a copy of the model has its own."""

    dropout: PartedDropout

    def __call__(self, layer: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return (self.dropout(inputs[0]), *inputs[1:])


def part_model_noise(
    model: nn.Module, *, rows: int, dropout: float | None = None, stochastic_depth: float | None = None
) -> None:
    """Gives the rows of a batch from ``rows`` on their own noise; the first rows keep that of ``set_model_noise``.

    The model has no further parameters, buffers or names of these, and answers in evaluation mode as before.

    Args:
        model: the model, changed in place, with the noise of the first rows.
        rows: number of first rows in every batch of a forward pass in training mode.
        dropout: dropout rate before the classifier for the other rows, 0 to below 1; None: as for the first.
        stochastic_depth: drop rate that the blocks approach linearly for the other rows; None: as for the first.

    Raises:
        ModelError: a rate is above 0 and the model has no module for it.
    """
    own = model_noise(model)
    if stochastic_depth is not None:
        depths = _own_depths(model)
        set_model_noise(model, dropout=own.dropout, stochastic_depth=stochastic_depth)
        _part_depth(model, rows, depths)
    if dropout is not None:
        _part_dropout(model, PartRates(own.dropout, dropout, rows))


def _own_depths(model: nn.Module) -> list[float]:
    return [float(path.drop_prob or 0.0) for paths in blocks_of(model) for path in paths]


def _part_depth(model: nn.Module, rows: int, first: list[float]) -> None:
    """Replaces every drop path, which has the rate of the other rows, by one of both; ``first``: its rates before."""
    rates = dict(zip((path for paths in blocks_of(model) for path in paths), first, strict=True))
    for module in list(model.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, DropPath):
                parts = PartRates(rates[child], float(child.drop_prob or 0.0), rows)
                setattr(module, name, PartedDropPath(parts).train(child.training))


def _part_dropout(model: nn.Module, rates: PartRates) -> None:
    if heads := head_dropouts(model):
        for module in list(model.modules()):
            for name, child in list(module.named_children()):
                if child in heads:
                    setattr(module, name, PartedDropout(rates).train(child.training))
        return
    get_classifier = getattr(model, "get_classifier", None)
    layer = get_classifier() if get_classifier and reads_drop_rate(model) else None
    if not isinstance(layer, nn.Module):
        if rates.first == rates.others:
            return
        raise ModelError(
            f"noise.unlabeled.dropout is {rates.others:g}, and the model {type(model).__name__} has no dropout before "
            "its classifier. Leave it out, or choose a model with dropout, such as a ResNet or EfficientNet."
        )
    model.drop_rate = 0.0  # type: ignore[assignment]
    dropout = PartedDropout(rates).train(model.training)
    model.add_module("head_parted_dropout", dropout)  # found like any dropout before the classifier
    layer.register_forward_pre_hook(_BeforeLayer(dropout))
