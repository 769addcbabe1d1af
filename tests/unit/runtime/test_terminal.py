import io
import os

import pytest

from noisystudent.runtime.terminal import escaped, fitting, terminal_width, wrapped


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("cat", "cat"),
        (
            "Katze äöü 猫 \N{IDEOGRAPHIC SPACE}x\N{NO-BREAK SPACE}y",
            "Katze äöü 猫 \N{IDEOGRAPHIC SPACE}x\N{NO-BREAK SPACE}y",
        ),
        ("\N{MAN}\N{ZERO WIDTH JOINER}\N{WOMAN}", "\N{MAN}\N{ZERO WIDTH JOINER}\N{WOMAN}"),
        ("\x1b[2J\x1b]0;x\x07cat", r"\x1b[2J\x1b]0;x\x07cat"),
        ("one\ntwo\tthree\r", "one\ntwo\tthree\\r"),
        ("a\N{RIGHT-TO-LEFT OVERRIDE}gpj", r"a\u202egpj"),
        ("\x9b31m", r"\x9b31m"),
        ("\ud800", r"\ud800"),
        ("\N{LINE SEPARATOR}", r"\u2028"),
    ],
)
def test_what_a_terminal_would_obey_is_written_out(text, shown):
    assert escaped(text) == shown


def test_names_of_one_line_keep_no_line_break():
    assert escaped("a\nb", keep="") == r"a\nb"


@pytest.mark.parametrize("width", [20, 40, 80])
def test_lines_are_broken_between_words_alone(width):
    path = "/a/very/long/path/that-no-terminal-of-forty-columns-can-hold/labeled"
    text = f"  note: the images of {path} are of two kinds, well-known and new\nand a second line"
    broken = wrapped(text, width)
    assert broken.split() == text.split()
    assert all(len(line) <= width or line.split() == [path] for line in broken.splitlines())
    assert all(line.startswith("  ") for line in broken.splitlines()[:-2])
    assert wrapped(text, None) == text
    assert wrapped("a  table   of\nshort  lines", 20) == "a  table   of\nshort  lines"


def test_as_many_parts_as_fit_stand_on_a_line():
    assert fitting(["80/150", "1:20 left", "loss 0.83"], 17) == "80/150  1:20 left"
    assert fitting(["80/150", "1:20 left", "all"], 11) == "80/150  all"
    assert fitting(["80/150"], 3) == ""


def test_a_terminal_has_a_width_and_a_pipe_has_none(monkeypatch):
    monkeypatch.delenv("COLUMNS", raising=False)
    assert terminal_width(io.StringIO()) is None
    reader, writer = os.openpty()
    with os.fdopen(writer, "w") as terminal:
        assert terminal_width(terminal) == 80
        monkeypatch.setenv("COLUMNS", "61")
        assert terminal_width(terminal) == 61
    os.close(reader)
