"""Studies: what is refused before anything is trained, and what the paper's own hold."""

import pytest

from noisystudent.config import ALL_SETTINGS, USED
from noisystudent.errors import SettingsError
from noisystudent.pipeline.studies.cells import Cell, Study, check_given, check_study, read_seeds, read_study
from noisystudent.pipeline.studies.paper import PAPER_STUDIES

TWO = (Cell("base"), Cell("stronger", {"noise.strength": 0.5}))


def study(*cells, reference="base"):
    return Study("own", "Own", "?", reference, cells)


def test_two_cells_and_a_reference_among_them_are_a_study():
    own = study(*TWO)

    check_study(own)
    assert own.cell(own.reference) is TWO[0]


@pytest.mark.parametrize(
    ("cells", "reference", "named"),
    [
        ((), "base", "no cells"),
        ((Cell("base"),), "base", "one cell"),
        (TWO, "bse", "'bse' is no cell. Did you mean 'base'?"),
        ((Cell("base"), Cell("Base!")), "base", "'base' and 'Base!'"),
        ((Cell("base"), Cell("../..")), "base", "'../..'; use letters or digits"),
        ((Cell("base"), Cell("b", {"test": "other"})), "base", "cell 'b' sets test, in which cells must not differ"),
        ((Cell("base"), Cell("b", {"data.few_labels": 5})), "base", "sets data.few_labels"),
        ((Cell("base"), Cell("b", {"seed": 1})), "base", "sets seed"),
        ((Cell("base"), Cell("b", {"noise.strngth": 1})), "base", "unknown setting 'noise.strngth'"),
    ],
)
def test_a_study_that_cannot_say_anything_is_refused(cells, reference, named):
    with pytest.raises(SettingsError, match=r"study own") as refused:
        check_study(study(*cells, reference=reference))

    assert named in str(refused.value)


def test_what_a_cell_varies_cannot_be_given_for_all():
    with pytest.raises(SettingsError, match=r"noise\.strength cannot be given: study own varies it"):
        check_given(study(*TWO), {"noise.strength": 1.0})


def test_folders_hold_nothing_but_letters_and_digits():
    assert Cell("1/16 of C:\\..\\all").folder == "1-16-of-c-all"


def test_a_study_of_ones_own_is_read(tmp_path):
    file = tmp_path / "strengths.yaml"
    file.write_text(
        "question: Which?\nsettings: {rounds.count: 1}\ncells:\n  base: {}\n  half: {noise: {strength: 0.5}}\n"
    )

    own = read_study(file)

    assert (own.name, own.reference, own.question) == ("strengths", "base", "Which?")
    assert own.settings == {"rounds.count": 1}
    assert [(cell.name, cell.settings) for cell in own.cells] == [("base", {}), ("half", {"noise.strength": 0.5})]


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("cells: {}", "has no cells"),
        ("cell: {a: {}}", "unknown key 'cell'. Did you mean 'cells'?"),
        ("cells: {a: 3, b: {}}", "'a' is 3; give settings"),
        ("cells: {a: {noise.strngth: 1}, b: {}}", "unknown setting"),
    ],
)
def test_a_file_that_is_no_study_is_refused(tmp_path, text, named):
    file = tmp_path / "own.yaml"
    file.write_text(text)

    with pytest.raises(SettingsError) as refused:
        read_study(file)

    assert named in str(refused.value)


def test_seeds_are_a_number_or_a_list():
    assert read_seeds("3") == (0, 1, 2)
    assert read_seeds("7,4") == (7, 4)


@pytest.mark.parametrize(
    ("text", "named"), [("1,1", "seed 1 is given twice"), ("0", "neither"), ("-1", "neither"), ("a", "neither")]
)
def test_other_seeds_are_refused(text, named):
    with pytest.raises(SettingsError, match=named):
        read_seeds(text)


@pytest.mark.parametrize("name", PAPER_STUDIES)
def test_the_papers_studies_are_whole(name):
    paper = PAPER_STUDIES[name]

    check_study(paper)
    used = {*paper.settings, *(setting for cell in paper.cells for setting in cell.settings)}
    assert used <= USED["study"] & ALL_SETTINGS.keys()
    signs = [paper.published_sign(cell) for cell in paper.cells if cell.name != paper.reference]
    assert paper.finding or all(sign is not None for sign in signs)


def test_the_papers_signs_follow_from_its_numbers():
    noise, share = PAPER_STUDIES["noise"], PAPER_STUDIES["unlabeled-share"]

    assert [noise.published_sign(cell) for cell in noise.cells] == [0, -1, -1]
    assert [share.published_sign(cell) for cell in share.cells] == [-1, -1, 0]
    assert PAPER_STUDIES["joint"].published_sign(PAPER_STUDIES["joint"].cell("pseudo labels first")) == -1
