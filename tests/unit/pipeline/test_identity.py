"""What a user's callable is called among the inputs of a stage: the same for the same code, another for other code."""

import functools

import pytest

from noisystudent.errors import SettingsError
from noisystudent.pipeline.extensions import Extensions, identity_of


def double(logits, batch):
    return 2 * logits.mean()


class Named:
    name, version = "mine", 3

    def __call__(self, logits, batch):
        return logits.mean()


class WithoutVersion:
    name = "mine"

    def __call__(self, logits, batch):
        return logits.mean()


def test_a_function_is_its_name_and_a_digest_of_its_source():
    name, digest = identity_of(double).split("#")
    assert name.endswith(".double")
    assert len(digest) == 16
    assert identity_of(double) == identity_of(double)


def test_other_source_is_another_identity():
    def double(logits, batch):
        return 3 * logits.mean()

    first = identity_of(double)

    def double(logits, batch):
        return 4 * logits.mean()

    assert identity_of(double) != first


def test_name_and_version_win_where_both_are_there():
    assert identity_of(Named()) == "mine 3"
    assert "WithoutVersion#" in identity_of(WithoutVersion())


def test_objects_with_parameters_in_their_repr_differ_by_them():
    class Scaled:
        def __init__(self, scale):
            self.scale = scale

        def __repr__(self):
            return f"Scaled({self.scale})"

        def __call__(self, logits, batch):
            return self.scale * logits.mean()

    assert identity_of(Scaled(1)) != identity_of(Scaled(2))
    assert identity_of(Scaled(1)) == identity_of(Scaled(1))
    assert identity_of(functools.partial(double, batch=None))


def test_only_what_is_given_is_described():
    assert Extensions().described() == {}
    assert Extensions(objective=Named()).described() == {"objective": "mine 3"}


def test_what_cannot_be_called_is_refused():
    with pytest.raises(SettingsError, match="'kd' is not callable"):
        Extensions(objective="kd").described()
