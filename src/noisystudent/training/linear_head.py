"""Linear heads on stored features: multinomial logistic regression on target probabilities, solved to its optimum."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from scipy.optimize import minimize
from scipy.special import log_softmax
from torch import Tensor, nn

from noisystudent.runtime.blas import one_blas_thread

Floats = npt.NDArray[np.float32]
Features = npt.NDArray[np.float16] | npt.NDArray[np.float32]

FOLDS = 5  # of the labels, for cross-fitting heads
PENALTIES = (1.0, 0.3, 0.1, 0.03, 0.01)  # weight decays that cross-fitting compares
SMALLEST_SHARE = 1e-6  # of a class, where its logarithm is taken
LEAST_DEVIATION = 0.1  # of a backbone's feature, as a share of the median one (NOTEBOOK.md)
MAX_ITERATIONS = 200  # of L-BFGS, which takes 50 to 110 on the features of a backbone
MOST_ROWS_OF_BASIS = 4096  # that the basis is estimated from; more take longer than the steps they save


@dataclass(frozen=True, eq=False)
class LinearHead:
    """The last layer of a network: weight float32 [K, F] and bias float32 [K]."""

    weight: Floats
    bias: Floats

    @classmethod
    def of(cls, layer: nn.Linear) -> LinearHead:
        """The weights of a network's last layer."""
        return cls(layer.weight.detach().cpu().numpy(), layer.bias.detach().cpu().numpy())

    def put_into(self, layer: nn.Linear) -> None:
        """Replaces the weights of a network's last layer by these."""
        with torch.no_grad():
            layer.weight.copy_(torch.from_numpy(self.weight))
            layer.bias.copy_(torch.from_numpy(self.bias))

    def log_probabilities(self, features: Features) -> Floats:
        """The log of the softmax of the logits: float32 [N, K] for features [N, F]."""
        logits = features.astype(np.float32) @ self.weight.T + self.bias
        return np.asarray(log_softmax(logits, axis=1), np.float32)


@dataclass(frozen=True, eq=False)
class Scaler:
    """Mean and standard deviation of each feature, float32 [F]; they are part of a fitted head's weights."""

    mean: Floats
    deviation: Floats

    @classmethod
    def of(cls, features: Sequence[Features], *, least: float = 0.0) -> Scaler:
        """The scaler of several arrays [N, F] together; a feature that never changes keeps its scale.

        Args:
            features: The arrays.
            least: Smallest deviation as a share of the median one. A backbone has features that hardly ever answer to
                these images; without a bound, one that does on another image or view is thousands of deviations away.
        """
        count = sum(map(len, features))
        mean = sum(part.sum(axis=0, dtype=np.float64) for part in features) / count
        square = sum(np.square(part - mean).sum(axis=0) for part in features) / count
        deviation = np.sqrt(square)
        deviation = np.maximum(deviation, least * np.median(deviation))
        return cls(np.asarray(mean, np.float32), np.where(deviation > 0, deviation, 1).astype(np.float32))


@dataclass(frozen=True, eq=False)
class HeadData:
    """What a head learns from: several views of the same images, with one target and one weight per image.

    ``views``: features of each view, [N, F]; ``targets``: class probabilities, float32 [N, K]; ``weights``: float32
    [N], at least 0, of which only the ratios count.
    """

    views: Sequence[Features]
    targets: Floats
    weights: Floats


def fit_head(
    data: Sequence[HeadData],
    scaler: Scaler,
    penalty: float,
    device: torch.device,
    *,
    logit_adjustment: float = 0.0,
) -> LinearHead:
    """Fits a linear head.

    It minimizes the weighted mean of the cross-entropy over all images and views, plus ``penalty`` / 2 times the
    squared norm of the weights for standardized features. The problem is convex: the result depends on the data alone.

    Args:
        data: What to learn from; each part's weights are used as they are.
        scaler: Mean and deviation of the features.
        penalty: Strength of the weight decay, above 0.
        device: Where it computes.
        logit_adjustment: tau of Menon et al. 2021: the fit with tau times the log of the class shares added to the
            logits. As the bias has no penalty, that is the fit without it and this much less bias.
    """
    rows, targets, weights = _stacked(data, scaler, device)
    span = _span(rows)
    if span is not None:
        rows = rows @ span
    classes, width = targets.shape[1], rows.shape[1]
    basis = _curvature_basis(rows, weights, penalty)

    def unpacked(flat: npt.NDArray[np.float64]) -> tuple[Tensor, Tensor]:
        head = torch.from_numpy(flat.astype(np.float32)).to(device).view(classes, width + 1)
        return head[:, :-1] @ basis, head[:, -1]

    def loss_and_gradient(flat: npt.NDArray[np.float64]) -> tuple[float, npt.NDArray[np.float64]]:
        weight, bias = unpacked(flat)
        log_p = torch.log_softmax(rows @ weight.T + bias, dim=1)
        difference = weights[:, None] * (log_p.exp() - targets)
        of_weight = (difference.T @ rows + penalty * weight) @ basis.T
        gradient = torch.cat([of_weight, difference.sum(0)[:, None]], dim=1)
        cross_entropy = -(weights.double() * (targets * log_p).sum(1).double()).sum()
        loss = cross_entropy + penalty / 2 * weight.double().square().sum()
        return float(loss), gradient.double().cpu().numpy().ravel()

    start = np.zeros(classes * (width + 1))
    options = {"maxiter": MAX_ITERATIONS, "gtol": 3e-5}
    with one_blas_thread():
        found = minimize(loss_and_gradient, start, jac=True, method="L-BFGS-B", options=options)
    standardized, offset = unpacked(found.x)
    if span is not None:
        standardized = standardized @ span.T
    weight, bias = standardized.double().cpu().numpy() / scaler.deviation, offset.double().cpu().numpy()
    if logit_adjustment:
        shares = (weights[:, None] * targets).sum(dim=0).double().cpu().numpy()
        bias = bias - logit_adjustment * np.log(np.maximum(shares, SMALLEST_SHARE))
    return LinearHead(weight.astype(np.float32), (bias - weight @ scaler.mean).astype(np.float32))


def _span(rows: Tensor) -> Tensor | None:
    """An orthonormal basis [F, M] of what rows [M, F] span, which holds the best weights; None for too many rows.

    Weights across all rows change no logit and cost a penalty, so few rows are a problem in few dimensions.
    """
    if 2 * len(rows) > rows.shape[1]:  # it costs as much as it saves
        return None
    basis: Tensor = torch.linalg.qr(rows.T.cpu())[0]  # not every accelerator has it
    return basis.to(rows.device)


def _curvature_basis(rows: Tensor, weights: Tensor, penalty: float) -> Tensor:
    """A basis [F, F] in which the loss curves about equally in every direction, so that it is minimized in few steps.

    The inverse of the Cholesky factor of the Hessian of the loss, as it would be if every class had a probability of
    about 0.1.
    """
    step = max(1, len(rows) // MOST_ROWS_OF_BASIS)
    sample, shares = rows[::step], weights[::step] / weights[::step].sum()
    identity = torch.eye(rows.shape[1], device=rows.device)
    curvature = 0.1 * (sample * shares[:, None]).T @ sample + penalty * identity
    basis: Tensor = torch.linalg.solve_triangular(torch.linalg.cholesky(curvature), identity, upper=False)
    return basis


def _stacked(data: Sequence[HeadData], scaler: Scaler, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """Standardized rows [M, F], their targets [M, K], and their weights [M], which sum to 1."""
    mean, deviation = torch.from_numpy(scaler.mean), torch.from_numpy(scaler.deviation)
    rows = [(torch.from_numpy(view).float() - mean) / deviation for part in data for view in part.views]
    targets = [torch.from_numpy(part.targets) for part in data for _ in part.views]
    weights = [torch.from_numpy(part.weights) / len(part.views) for part in data for _ in part.views]
    weight = torch.cat(weights)
    return torch.cat(rows).to(device), torch.cat(targets).to(device), (weight / weight.sum()).to(device)
