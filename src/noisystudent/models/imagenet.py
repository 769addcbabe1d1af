"""The classes of ImageNet and of its larger versions, as timm lists them."""

from __future__ import annotations

from functools import cache

from timm.data.imagenet_info import ImageNetInfo, infer_imagenet_subset


@cache
def imagenet_synsets() -> tuple[str, ...]:
    """Returns the WordNet synsets of ImageNet's 1,000 classes (``n01440764`` ...) in ascending order."""
    return _synsets("imagenet-1k")


def published_classes(count: int) -> tuple[str, ...]:
    """Returns the class names of published weights with ``count`` outputs, in the order of the outputs.

    The names are synsets if timm knows a set of that size: ImageNet's 1,000 classes, and the sets of 11,221, 11,821,
    21,841, 21,842 and 21,843 classes. The size is the only hint at the training data of published weights. For other
    sizes the names are the numbers from 0.
    """
    subset = infer_imagenet_subset({"num_classes": count})
    return _synsets(subset) if subset else tuple(map(str, range(count)))


def _synsets(subset: str) -> tuple[str, ...]:
    return tuple(ImageNetInfo(subset).label_names())  # type: ignore[no-untyped-call]
