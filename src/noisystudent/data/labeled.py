"""The labeled images that train: those that are also validation or test images are left out."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from noisystudent.data.checks import listed
from noisystudent.data.dedup.leakage import Excluded, HeldOutSearch, without
from noisystudent.data.images import Images
from noisystudent.errors import DataError


@dataclass(frozen=True)
class KeptLabels:
    """The labeled images that train, those that are left out, and a sentence per class whose look-alikes stay."""

    images: Images
    left_out: tuple[Excluded, ...] = ()
    notes: tuple[str, ...] = ()


def keep_labeled(images: Images, search: HeldOutSearch, held_out: str) -> KeptLabels:
    """The labeled images without those that are also held out.

    A class of which nothing else is left keeps its near-duplicates, with a note: labels are few, and a look-alike may
    well be another image.

    Args:
        images: the labeled images, at least one per class.
        search: finds the held-out images.
        held_out: what is held out, in messages, such as ``validation or test images``.

    Raises:
        DataError: all images are also held out, or all of a class are identical to held-out ones.
    """
    found = search.in_labeled(images)
    if not found:
        return KeptLabels(images)
    class_of = dict(zip(images.keys, images.labels.tolist(), strict=True))
    identical = {image.key for image in found if image.found == "identical"}
    emptied = _emptied(images, identical)
    if emptied or len(found) == len(images):
        what = f"all labeled images of {_names(images, emptied)}" if emptied else f"all {len(images)} labeled images"
        blamed = [image for image in found if not emptied or class_of[image.key] in emptied]
        raise DataError(_nothing_left(what, held_out, blamed))
    spared = _emptied(images, {image.key for image in found})
    left_out = tuple(image for image in found if image.key in identical or class_of[image.key] not in spared)
    kept = {label: [image for image in found if class_of[image.key] == label] for label in spared}
    notes = tuple(_kept_note(_names(images, [label]), held_out, alike) for label, alike in kept.items())
    return KeptLabels(without(images, (image.key for image in left_out)), left_out, notes)


def _emptied(images: Images, keys: Collection[str]) -> list[int]:
    """The classes of which no image is left without those with the given keys."""
    left = {label for key, label in zip(images.keys, images.labels.tolist(), strict=True) if key not in keys}
    return sorted(set(images.labels.tolist()) - left)


def _names(images: Images, labels: Collection[int]) -> str:
    return listed([(images.classes or ())[label] for label in labels])


def _nothing_left(what: str, held_out: str, found: Sequence[Excluded]) -> str:
    similar = sum(image.found == "near-duplicate" for image in found)
    keep = f"; {similar} of them only look the same, which --data.near_duplicates none keeps" if similar else ""
    return (
        f"{what} are also {held_out}, the first of them {found[0].key!r} (it is {found[0].same_as!r}), and training "
        f"must not see these{keep}. Give other labeled images, or hold out other ones."
    )


def _kept_note(name: str, held_out: str, found: Sequence[Excluded]) -> str:
    alike = [image for image in found if image.found == "near-duplicate"]
    return (
        f"{len(alike)} images of {name} look like {held_out} (the first, {alike[0].key!r}, like {alike[0].same_as!r}) "
        "and train all the same, because nothing else of the class would be left; if they show the same things, the "
        "scores are too good, so give other images"
    )
