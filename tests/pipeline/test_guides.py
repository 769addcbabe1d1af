"""Every command and every line of Python of the guides runs, on generated images."""

import contextlib

import pytest

import noisystudent
from noisystudent.commands import demo as demo_module
from noisystudent.commands.main import main
from page_commands import QUICK_OF, QUICK_SETTINGS, ROOT, code_of, commands_of, make_photos

PAGES = sorted(
    page.relative_to(ROOT).as_posix()
    for folder in ("start", "how-to", "explanation")
    for page in (ROOT / "docs" / folder).glob("*.md")
)


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    """A folder with the images of the pages and a finished run, where the pages continue each other's work."""
    folder = tmp_path_factory.mktemp("work")
    make_photos(folder / "photos")
    with contextlib.chdir(folder):
        sources = ["photos/labeled", "photos/unlabeled", "photos/test"]
        assert main(["run", *sources, "--out=runs/photos", *QUICK_OF["run"]]) == 0
    return folder


@pytest.mark.parametrize("page", PAGES)
def test_the_commands_of_a_page_run(page, work, monkeypatch, capsys):
    monkeypatch.chdir(work)
    monkeypatch.setattr("webbrowser.open", lambda address: address.startswith("file:"))
    short = {**demo_module.SETTINGS, "train.steps": 2, "rounds.count": 1, "data.size": 8}
    monkeypatch.setattr(demo_module, "SETTINGS", short)
    for words in commands_of(page):
        assert main([*words, *QUICK_OF.get(words[0], [])]) == 0, capsys.readouterr().err


def test_the_code_of_the_page_on_notebooks_runs(work, monkeypatch, capsys):
    monkeypatch.chdir(work)
    run = noisystudent.run

    def short(*sources, settings, **rest):
        return run(*sources, settings={**settings, **QUICK_SETTINGS}, quiet=True, **rest)

    monkeypatch.setattr(noisystudent, "run", short, raising=False)
    exec(compile(code_of("docs/start/notebook.md"), "notebook.md", "exec"), {})
    printed = capsys.readouterr().out.splitlines()
    assert printed[0] in ("keep", "no clear gain", "worse")
    assert printed[-1].endswith("report.html")
