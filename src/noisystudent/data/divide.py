"""Divides the decoded images of a run between their roles, so that no image that trains is also held out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np

from noisystudent.data.checks import check_labels, held_out_notes
from noisystudent.data.dedup.leakage import DuplicateIndex, Excluded, HeldOutSearch
from noisystudent.data.images import Images
from noisystudent.data.labeled import keep_labeled
from noisystudent.data.settings import DataSettings
from noisystudent.data.stratified import carve_validation

HELD_OUT = ("validation", "test")  # roles, in the order in which they are searched


@dataclass(frozen=True)
class Division:
    """The images of a run by role.

    ``labeled``, empty for a run without labels, has no image that is also held out; those are in ``left_out``.
    ``search`` finds them among the ``unlabeled`` ones. ``carved``: where the validation images come from if they were
    not given. ``notes``: sentences for the user by role.
    """

    labeled: Images
    unlabeled: Images | None
    held_out: dict[str, Images]
    search: HeldOutSearch
    left_out: tuple[Excluded, ...] = ()
    carved: str = ""
    notes: dict[str, tuple[str, ...]] = field(default_factory=dict)


def divide(
    images: Mapping[str, Images], classes: Sequence[str], settings: DataSettings, seed: int, none: Images | None = None
) -> Division:
    """Divides decoded images with labels that are indices into ``classes``; carves out validation if none is given.

    Args:
        images: the images by role; streamed ones are not among them.
        classes: the class names of the run.
        settings: how to split the labels, and what a near-duplicate is.
        seed: seed of the split.
        none: no images, in the format of the others; for a run without labels whose unlabeled images are streamed.

    Raises:
        DataError: a class has no labeled image, or none that is not also held out.
    """
    held_out = {role: images[role] for role in HELD_OUT if role in images}
    unlabeled = images["unlabeled"].without_labels() if "unlabeled" in images else None
    search = _search(held_out, unlabeled, settings.near_duplicates)
    labeled = images.get("labeled", none)
    if labeled is None:
        labeled = no_images(images["unlabeled"])
    division = Division(labeled, unlabeled, held_out, search, notes=_notes(held_out, classes))
    if "labeled" not in images:
        return division
    check_labels(division.labeled.labels, classes, "labeled")
    division = _without_held_out(division, search, f"{' or '.join(held_out)} images")
    return division if "validation" in held_out else _carve(division, settings, seed)


def _carve(division: Division, settings: DataSettings, seed: int) -> Division:
    """The division with a part of its labels as validation images, where every class has enough labels."""
    labeled = division.labeled
    few_labels = settings.few_labels_beside_test if "test" in division.held_out else settings.few_labels
    train_rows, validation_rows = carve_validation(labeled.labels, settings.validation_fraction, few_labels, seed)
    if not len(validation_rows):
        return division
    carved, test = labeled.take(validation_rows), division.held_out
    own = _search({"validation": carved}, division.unlabeled, settings.near_duplicates)
    held_out = {"validation": carved, **test}
    divided = replace(
        division,
        labeled=labeled.take(train_rows),
        held_out=held_out,
        search=_search(held_out, division.unlabeled, settings.near_duplicates) if test else own,
        carved=f"carved out of the {len(labeled)} labeled images",
    )
    return _without_held_out(divided, own, "images that are set aside for validation")


def _without_held_out(division: Division, search: HeldOutSearch, held_out: str) -> Division:
    kept = keep_labeled(division.labeled, search, held_out)
    notes = {**division.notes, "labeled": (*division.notes.get("labeled", ()), *kept.notes)}
    return replace(division, labeled=kept.images, left_out=(*division.left_out, *kept.left_out), notes=notes)


def _search(held_out: Mapping[str, Images], unlabeled: Images | None, distance: int | Literal["none"]) -> HeldOutSearch:
    return HeldOutSearch.of([DuplicateIndex(images, distance) for images in held_out.values()], unlabeled)


def _notes(held_out: Mapping[str, Images], classes: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Which classes have no held-out image, and which validation images are also test images."""
    notes = {role: held_out_notes(images.labels, classes) for role, images in held_out.items()}
    if len(held_out) == len(HELD_OUT):
        shared = DuplicateIndex(held_out["test"], "none").identical(held_out["validation"])
        for first, same_as in [*shared.items()][:1]:
            notes["validation"] += (
                f"{len(shared)} of the validation images are also test images, such as {first!r} (it is {same_as!r}), "
                "so the test scores are of images that also choose: give other validation images",
            )
    return notes


def no_images(images: Images) -> Images:
    """None of the images, in their format."""
    return images.take(np.arange(0)).without_labels()
