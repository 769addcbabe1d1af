"""The classes of ImageNet and of its larger relatives, as timm lists them."""

from __future__ import annotations

from functools import cache

from timm.data.imagenet_info import ImageNetInfo, infer_imagenet_subset


@cache
def imagenet_synsets() -> tuple[str, ...]:
    """The WordNet synsets of ImageNet's 1,000 classes (``n01440764`` ...), in ascending order, from timm."""
    return _synsets("imagenet-1k")


def published_classes(count: int) -> tuple[str, ...]:
    """The classes of published weights with ``count`` outputs, in their order.

    Synsets where timm knows a set of that size, the only sign there is of what weights were trained on: ImageNet's
    1,000 classes, and those of 11,221, 11,821, 21,841, 21,842 and 21,843. Else the numbers from 0.
    """
    subset = infer_imagenet_subset({"num_classes": count})
    return _synsets(subset) if subset else tuple(map(str, range(count)))


def _synsets(subset: str) -> tuple[str, ...]:
    return tuple(ImageNetInfo(subset).label_names())  # type: ignore[no-untyped-call]
