"""How long the stages of a run must train: from scratch by steps, from pretrained weights by visits to the labels.

Weights that are fine-tuned need a few visits to each label where a network from scratch needs hundreds of steps, and
they begin with a head that is fitted on the frozen features. A head of small noise has to be learned in these few
steps, while it already moves the weights below: 8 points less on 150 labels of waste (NOTEBOOK.md).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass

from noisystudent.errors import ModelError
from noisystudent.models.backbones import Backbone
from noisystudent.models.settings import ModelPlan

FEWEST_STEPS = 50  # of a stage
FEWEST_TUNED_STEPS = 25  # of a trial from pretrained weights, which begins with a fitted head
ENOUGH_STEPS = 300  # of a stage from scratch, below which smaller images are preferred
MOST_STEPS = 4000
FEWEST_EPOCHS = 40  # of a teacher on its labels, below which more labels-only training is better than any round
TUNED_EPOCHS = 8  # of a training from pretrained weights, below which smaller images are preferred
TRIAL_EPOCHS = 4  # of a trial from pretrained weights, below which smaller images are preferred
MOST_TUNED_EPOCHS = 16  # 30 were no better on the same labels; below it, smaller images, no control or no student
SHARES = (1.0, 5 / 7, 4 / 7, 3 / 7)  # of the weights' own size: 224, 160, 128 and 96 pixels
SMALLEST_SHARE = 2 / 7  # 64 pixels, for networks: training takes several times as long as features
LARGEST_ENLARGEMENT = 4  # pixels that an image does not have cost as much as those that it has
_OF_TUNING: dict[str, object] = {
    "train.batch_size": 32,  # a few hundred labels are then enough for steps
    "train.head_start": "fitted",
    "data.crop": 1.0,  # as the frozen head sees the images
}


@dataclass(frozen=True)
class Lengths:
    """How long a stage trains.

    ``enough``: steps of labels-only training, below which smaller images are preferred; ``epochs``: how often a teacher
    of rounds sees its labels at least, and ``with_student`` the steps of that; ``most``: steps.
    """

    enough: float
    epochs: int
    with_student: float
    most: int

    @property
    def enough_with_student(self) -> float:
        """Steps of each stage of a run with students, below which smaller images or no control are preferred."""
        return max(self.enough, self.with_student)


def is_tuned(backbone: Backbone | None, plan: ModelPlan) -> bool:
    """Whether a model starts from pretrained weights."""
    return backbone is not None and backbone.start_of(plan.name) is not None


def values_of_tuning(explicit: Collection[str]) -> dict[str, object]:
    """What the training of pretrained weights takes where the user gave nothing, by dotted name."""
    return {name: value for name, value in _OF_TUNING.items() if name not in explicit}


def lengths_of(batch_size: int, labeled: int, unlabeled: int, *, tuned: bool) -> Lengths:
    """The lengths of stages in which a teacher sees ``batch_size`` of its ``labeled`` images per step."""
    epoch = labeled / batch_size
    if not tuned:
        return Lengths(ENOUGH_STEPS, FEWEST_EPOCHS, FEWEST_EPOCHS * epoch, MOST_STEPS)
    enough, full = (max(FEWEST_STEPS, epochs * epoch) for epochs in (TUNED_EPOCHS, MOST_TUNED_EPOCHS))
    most = max(full, 2 * unlabeled / batch_size)
    return Lengths(enough, MOST_TUNED_EPOCHS, full, min(MOST_STEPS, round(most)))


def sizes_of_weights(
    own: int, edge: int, take: Callable[[int], object], shares: Sequence[float] = SHARES
) -> Iterator[int]:
    """Sizes that a backbone takes, from its own down, without those that only enlarge the images.

    Args:
        own: The size in pixels that the weights were trained at.
        edge: That of the images.
        take: Builds the network for a size; raises ``ModelError`` where it cannot take that size.
        shares: The sizes as shares of ``own``, the largest first.
    """
    sizes = [round(own * share / 32) * 32 if share < 1 else own for share in shares]
    taken = 0
    for size in [size for size in sizes if size <= LARGEST_ENLARGEMENT * edge] or sizes[-1:]:
        try:
            take(size)
        except ModelError:  # a transformer of fixed patches
            continue
        taken += 1
        yield size
    if not taken:
        yield own
