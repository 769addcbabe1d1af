"""Every page in Chromium: clean console, no request, no overflow, axe-core content, and what scripts add."""

import pytest

from page_states import OF_RUNS, STATES

WIDTHS = (390, 1280, 1920)
LARGEST = 3_000_000  # bytes of a page
SHEETS = 3  # of A4, printed


@pytest.mark.parametrize("state", STATES)
def test_a_page_opens_without_errors_and_requests_and_fits_every_window(browser, page, state):
    for width in WIDTHS:
        browser.open(page(state), width)
        assert browser.overflow() == 0, width
        browser.unfold()
        assert browser.overflow() == 0, f"{width}, unfolded"
        assert browser.problems() == []
    assert page(state).stat().st_size < LARGEST


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("state", STATES)
def test_axe_finds_nothing_on_the_unfolded_page(browser, page, state, scheme):
    browser.open(page(state), scheme=scheme)
    browser.unfold()
    assert browser.axe() == []


@pytest.mark.parametrize("state", OF_RUNS)
def test_a_page_prints_on_three_sheets(browser, page, state, tmp_path):
    browser.open(page(state))
    assert browser.sheets(tmp_path / "page.pdf") <= SHEETS


@pytest.mark.parametrize(
    ("broken", "rule"),
    [
        ("document.querySelector('.lead').style.color = '#888'", "color-contrast"),
        ("document.querySelector('img').alt = ''; document.querySelector('img').removeAttribute('alt')", "image-alt"),
        ("document.querySelector('#map-confidence').labels[0].remove()", "label"),
    ],
)
def test_axe_finds_what_is_wrong(browser, page, broken, rule):
    browser.open(page("test set"))
    browser.evaluate(broken)
    assert any(found.startswith(f"{rule}:") for found in browser.axe())
