"""How much there is to do in a run, before any image is decoded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from noisystudent.data.images import infer_format
from noisystudent.data.settings import DataSettings
from noisystudent.data.source import Source


@dataclass(frozen=True)
class Workload:
    """The images of a run.

    ``edge`` is the size in pixels that ``data.size auto`` means for the labeled images, ``channels`` their channels.
    ``can_compare``: there may be held-out labels by which models can be compared, given or set aside.
    """

    classes: int
    labeled: int
    unlabeled: int
    held_out: int
    edge: int
    channels: int
    can_compare: bool = True

    @property
    def in_training(self) -> int:
        """The labeled and the unlabeled images."""
        return self.labeled + self.unlabeled

    @classmethod
    def of(cls, sources: Mapping[str, Source], data: DataSettings) -> Workload:
        """The workload of opened sources by role; reads the headers of the labeled images."""
        format = infer_format(sources["labeled"], data.model_copy(update={"size": "auto"}))
        held_out = sum(_count(sources[role]) for role in ("validation", "test") if role in sources)
        classes, labeled = len(sources["labeled"].classes or ()), _count(sources["labeled"])
        may_set_aside = data.validation_fraction > 0 and labeled >= data.few_labels * classes
        return cls(
            classes=classes,
            labeled=labeled,
            unlabeled=_count(sources["unlabeled"]) if "unlabeled" in sources else 0,
            held_out=held_out,
            edge=format.size,
            channels=format.channels,
            can_compare=held_out > 0 or may_set_aside,
        )


def _count(source: Source) -> int:
    return sum(source.shard_sizes)
