"""What identifies a callable: equal ones have the same line in every process, changed ones another."""

import subprocess
import sys
from dataclasses import dataclass
from functools import partial

from torchvision.transforms import v2

from noisystudent.artifacts.callables import describe


def darken(pixels, by=2):
    return pixels // by


def brighten(pixels, by=2):
    return pixels * by


@dataclass
class Both:
    first: object
    share: float

    def __call__(self, pixels):
        return self.first(pixels)

    def apply(self, pixels):
        return self(pixels)


class Silent:
    def __call__(self, pixels):
        return pixels


def test_name_and_source_of_a_function_identify_it():
    assert describe(darken) == describe(darken) != describe(brighten)
    assert describe(darken).startswith(f"{__name__}.darken#")
    assert describe(len).startswith("builtins.len#")


def test_the_parameters_that_an_object_shows_identify_it():
    assert describe(v2.RandomRotation(10)) == describe(v2.RandomRotation(10)) != describe(v2.RandomRotation(20))
    assert describe(Silent()) == describe(Silent())  # the default repr is an address


def test_parameters_and_function_of_a_partial_identify_it():
    assert describe(partial(darken, by=3)) == describe(partial(darken, by=3)) != describe(partial(darken, by=4))
    assert describe(partial(darken, by=3)) != describe(partial(brighten, by=3))


def test_an_address_inside_a_repr_hides_nothing_else():
    assert describe(Both(darken, 0.1)) == describe(Both(darken, 0.1)) != describe(Both(darken, 0.9))
    assert describe(Both(darken, 0.1).apply) == describe(Both(darken, 0.1).apply) != describe(Both(darken, 0.9).apply)


def test_another_process_gives_the_same_line(tmp_path):
    (tmp_path / "mine.py").write_text("def halve(pixels, by=2):\n    return pixels // by\n")
    code = (
        "import functools, mine; from noisystudent.artifacts.callables import describe; "
        "print(describe(functools.partial(mine.halve, by=3)))"
    )
    lines = [
        subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True).stdout
        for _ in range(2)
    ]
    assert lines[0] == lines[1] != ""
