"""Tables of plain text: aligned, and within the columns of a terminal."""

from noisystudent.display.wording import aligned

ROWS = [["", "clean", "corrupted", "attacked"], ["one", "98.0%", "71.5%", "3.0%"], ["the other", "97.1%", "68%", "0%"]]


def test_a_table_is_one_where_its_lines_fit():
    lines = aligned(ROWS)
    assert lines == [
        "           clean  corrupted  attacked",
        "one        98.0%      71.5%      3.0%",
        "the other  97.1%        68%        0%",
    ]
    assert aligned(ROWS, 37) == lines
    assert aligned(ROWS, 80) == lines


def test_a_wide_table_becomes_several_with_the_names_of_the_rows_in_each():
    assert aligned(ROWS, 36) == [
        "           clean  corrupted",
        "one        98.0%      71.5%",
        "the other  97.1%        68%",
        "           attacked",
        "one            3.0%",
        "the other        0%",
    ]


def test_a_column_that_never_fits_is_not_cut():
    assert aligned([["name", "a long heading"], ["x", "1"]], 10) == ["name  a long heading", "x                  1"]


def test_a_table_of_one_column_has_no_parts():
    assert aligned([["name"], ["x"]], 2) == ["name", "x"]
