"""Text that anyone may have written becomes one name inside one folder, and different texts stay different."""

from pathlib import PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from noisystudent.data.safe_names import safe_name, safe_path

ODD = {
    "..": "%2E%2E",
    ".": "%2E",
    "": "%",
    "a/b": "a%2Fb",
    "../../etc": "%2E./../etc".replace("/", "%2F"),
    "<b>cat</b>": "%3Cb%3Ecat%3C%2Fb%3E",
    "cat\n": "cat%0A",
    "tab\x1b[2J": "tab%1B[2J",
    "exe\u202egpj": "exe%E2%80%AEgpj",
    " end ": "%20end%20",
    "50%": "50%25",
    "C:\\x": "C%3A%5Cx",
    "חתול": "חתול",
    "猫": "猫",
    "black cat": "black cat",
}


@pytest.mark.parametrize(("text", "name"), ODD.items())
def test_odd_class_names_become_names(text, name):
    assert safe_name(text) == name


@given(st.text(max_size=300), st.text(max_size=300))
def test_a_name_is_one_part_of_a_path_and_tells_texts_apart(first, second):
    name = safe_name(first)
    assert PurePosixPath(name).parts == (name,)
    assert name not in (".", "..")
    assert name.isprintable()
    assert len(name.encode()) <= 255
    assert (name == safe_name(second)) == (first == second)


def test_a_key_keeps_its_folders_and_its_ending():
    assert safe_path("a/b/1.JPG").as_posix() == "a/b/1.JPG"
    assert safe_path("/etc/../1.png").as_posix() == "%/etc/%2E%2E/1.png"
    assert safe_path("x" * 400 + ".jpeg").suffix == ".jpeg"
    assert safe_path(".jpg").as_posix() == "%2Ejpg"
