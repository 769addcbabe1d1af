import pytest

from noisystudent.runtime.terminal import escaped


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
