"""Shares of classes that a user gives: every class once, from 0 to 1, with the sum 1, or one clear line."""

import numpy as np
import pytest

from noisystudent.errors import SettingsError
from noisystudent.pseudo_labels.selection.class_shares import given_shares, named_shares
from noisystudent.pseudo_labels.selection.settings import SelectionSettings

CLASSES = ("cat", "big dog", "a=b")


def test_shares_are_in_the_order_of_the_classes():
    assert given_shares("a=b=0.2, big dog=0.5,cat=0.3", CLASSES).tolist() == pytest.approx([0.3, 0.5, 0.2])
    assert given_shares("cat=1,big dog=0,a=b=0", CLASSES).tolist() == [1, 0, 0]
    assert named_shares("auto", CLASSES) is None
    assert np.allclose(named_shares("uniform", CLASSES), 1 / 3)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("cat=0.3,big dog=0.7", "misses the class 'a=b'; give every class one share: cat, big dog, a=b"),
        ("cat=0.3,big dog=0.3,a=b=0.2,cow=0.2", "names 'cow', which is no class"),
        ("cat=0.3,dog=0.5,a=b=0.2", "misses the class 'big dog' and names 'dog', which is no class"),
    ],
)
def test_a_prior_must_name_every_class_once(text, message):
    with pytest.raises(SettingsError, match=message):
        given_shares(text, CLASSES)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("even", "'even' is no share of a class; give uniform, labels, estimated, or a share"),
        ("cat=0.5,dog=much", "'dog=much' is no share"),
        ("cat=-0.5,dog=1.5", "'cat=-0.5' is no share"),
        ("cat=nan,dog=1", "'cat=nan' is no share"),
        ("cat=0.5,cat=0.5", "the class 'cat' has two shares"),
        ("cat=0.5,dog=0.4", "the shares sum to 0.9; give shares that sum to 1"),
        ("", "'' is no share"),
    ],
)
def test_text_that_is_no_prior_is_refused_at_once(text, message):
    with pytest.raises(ValueError, match=message):
        SelectionSettings(prior=text)


@pytest.mark.parametrize("prior", ["auto", "labels"])
def test_alignment_to_the_shares_of_the_labels_is_refused(prior):
    with pytest.raises(ValueError, match=f"align prior has no effect with prior {prior}"):
        SelectionSettings(prior=prior, align="prior")


def test_the_inputs_of_runs_without_these_settings_stay_as_they_were():
    names = {"rule", "fraction", "threshold", "per_class", "max_copies", "once"}
    assert set(SelectionSettings().deciding()) == names
    assert SelectionSettings(prior="uniform", align="prior", foreign="drop").deciding().keys() == {
        *names, "prior", "align", "foreign",
    }  # fmt: skip
