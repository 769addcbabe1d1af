"""What a person does on a page: map, classes, slider, tables, cards, keyboard; and all of it without scripts."""

import json

import pytest

from noisystudent.reporting.page import write_report
from page_states import colored_images
from run_folders import full_run, with_findings, with_models

PIXELS = """(() => {
  const canvas = document.getElementById('map-canvas');
  const image = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
  return image.data.reduce((a, b) => (a * 31 + b) | 0, 7);
})()"""
"""A number that depends on every pixel of the map."""


@pytest.fixture
def opened(browser, page):
    browser.open(page("test set"))
    return browser


def map_data(browser) -> dict:
    return json.loads(browser.evaluate("document.getElementById('map-data').textContent"))


def point_at(browser, number: int) -> None:
    """Moves the mouse to an image of the map."""
    browser.evaluate("document.getElementById('map-canvas').scrollIntoView({ block: 'center' })")
    box = browser.evaluate("JSON.parse(JSON.stringify(document.getElementById('map-canvas').getBoundingClientRect()))")
    data = map_data(browser)
    # The map is 960 wide and 600 high with a margin of 20, and its coordinates are thousandths.
    x = box["x"] + box["width"] / 960 * (20 + 0.92 * data["x"][number])
    y = box["y"] + box["height"] / 600 * (20 + 0.56 * data["y"][number])
    browser.move(x, y)


@pytest.mark.parametrize("number", [0, 30, 59])
def test_the_map_shows_the_image_under_the_mouse(opened, number):
    before = opened.evaluate(PIXELS)
    point_at(opened, number)
    data = map_data(opened)
    text = opened.text("#map-text")
    assert text.startswith(data["key"][number])
    name = data["names"][data["class"][number]]
    assert (f"your label: {name}" if number == 0 else f"the model says {name}, {data['sure'][number]}%") in text
    assert ("far from every labeled image" in text) == (data["kind"][number] == 2)
    assert "data:image/jpeg" in opened.evaluate("document.getElementById('map-view').style.backgroundImage")
    column, row = number % 8, number // 8  # of the sheet of 60 images
    place = opened.evaluate("document.getElementById('map-view').style.backgroundPosition")
    assert place.replace("-", "") == f"{144 * column}px {144 * row}px"
    assert opened.evaluate(PIXELS) != before


def test_a_class_chip_shows_that_class_alone(opened):
    all_of_them = opened.evaluate(PIXELS)
    opened.click(".chips button[data-class='2']")
    pressed = "[...document.querySelectorAll('.chips button')].filter((one) => one.ariaPressed === 'true')"
    assert opened.evaluate(f"{pressed}.map((one) => one.dataset.class)") == ["2"]
    assert opened.evaluate(PIXELS) != all_of_them
    data = map_data(opened)
    for number in (0, 30, 59):
        point_at(opened, number)
        key = opened.text("#map-text").partition(":")[0]
        assert data["class"][data["key"].index(key)] == 2
    opened.click(".chips button[data-class='-1']")
    assert opened.evaluate(f"{pressed}.length") == 1


def test_the_slider_counts_the_images_that_are_that_sure(opened):
    counts = map_data(opened)["counts"]
    for level in (0, 50, 97):
        opened.fill("#map-confidence", str(level))
        assert opened.text("#map-level") == f"{level}%"
        assert opened.text("#map-kept").startswith(f"{counts[level]} of 300 unlabeled images")


def test_arrow_keys_walk_through_the_images_of_the_map(opened):
    opened.evaluate("document.getElementById('map-canvas').focus()")
    keys = map_data(opened)["key"]
    for key, number in (("ArrowRight", 0), ("ArrowRight", 1), ("ArrowLeft", 0), ("ArrowUp", 59)):
        opened.press(key)
        assert opened.text("#map-text").startswith(keys[number])


def column(browser, number: int) -> list[str]:
    rows = f"[...document.querySelector('#scores table').tBodies[0].rows].map((row) => row.cells[{number}].textContent)"
    return browser.evaluate(rows)


def test_a_table_sorts_by_its_numbers_and_back(opened):
    opened.unfold()
    before = column(opened, 1)
    button = "#scores thead th:nth-child(2) button"
    for direction, sign in (("descending", -1), ("ascending", 1)):
        opened.click(button)
        assert opened.evaluate("document.querySelector('#scores thead th:nth-child(2)').ariaSort") == direction
        values = [float(text.rstrip("%")) for text in column(opened, 1)]
        assert values == sorted(values, key=lambda value: sign * value)
    assert sorted(column(opened, 1)) == sorted(before)


def test_a_table_sorts_with_the_keyboard(opened):
    opened.unfold()
    opened.evaluate("document.querySelector('#scores thead th button').focus()")
    opened.press("Enter")
    names = column(opened, 0)
    assert names == sorted(names, key=str.lower, reverse=True)


def test_cards_and_links_jump_to_their_sections(opened):
    anchors = opened.evaluate("[...document.querySelectorAll('.cards a, nav.bar a')].map((one) => one.hash)")
    assert len(anchors) > 15
    for anchor in dict.fromkeys(anchors):
        opened.evaluate(f"scrollTo(0, 0); document.querySelector('a[href=\"{anchor}\"]').click()")
        place = opened.evaluate(f"document.querySelector('{anchor}').getBoundingClientRect().top")
        height = opened.evaluate("document.querySelector('nav.bar').offsetHeight")
        bottom = opened.evaluate("document.documentElement.scrollHeight - innerHeight - scrollY")
        visible = opened.evaluate(f"document.querySelector('{anchor}').checkVisibility()")
        assert visible, anchor
        assert place >= height - 1, anchor  # not under the bar
        assert place < 120 or bottom < 2, anchor


def test_the_first_key_skips_to_the_content(opened):
    opened.press("Tab")
    assert opened.evaluate("document.activeElement.className") == "skip"
    assert opened.evaluate("document.activeElement.getBoundingClientRect().left") >= 0
    opened.press("Enter")
    assert opened.evaluate("location.hash") == "#main"


def test_everything_that_acts_is_reached_by_the_keyboard_and_shows_where_it_is(opened):
    opened.unfold()
    acts = "[...document.querySelectorAll('a, button, input, canvas, summary')].filter((one) => one.checkVisibility())"
    count = opened.evaluate(f"{acts}.length")
    reached = set()
    for _ in range(2 * count):
        opened.press("Tab")
        number = opened.evaluate(f"{acts}.indexOf(document.activeElement)")
        if number in reached:
            break
        if number >= 0:
            reached.add(number)
            outlined = opened.evaluate("getComputedStyle(document.activeElement).outlineStyle")
            assert outlined != "none", opened.evaluate("document.activeElement.outerHTML")
    assert len(reached) == count


def test_the_command_is_copied(opened):
    opened.click("button.copy")
    assert opened.text("button.copy") == "copied"


def test_without_scripts_only_the_map_and_sorting_are_lost(browser, page):
    shown = (
        "[...document.querySelectorAll('section, header')].filter((one) => one.checkVisibility()).map((one) => one.id)"
    )
    browser.open(page("test set"))
    browser.unfold()
    with_scripts = browser.evaluate(shown)
    texts = {name: browser.text(f"#{name}") for name in with_scripts if name not in ("map", "scores")}
    browser.open(page("test set"), scripts=False)
    browser.unfold()
    assert browser.evaluate(shown) == with_scripts
    assert "The map needs scripts" in browser.text("#map")
    assert not browser.evaluate("document.getElementById('map-tools').checkVisibility()")
    assert not browser.evaluate("document.querySelectorAll('#scores thead button').length")
    without = {name: browser.text(f"#{name}") for name in texts}
    texts["verdict"] = texts["verdict"].replace(" copy ", " ")
    assert without == texts


NAMES = ("שלום", "\u202edesrever", "<b>bold</b>", "a\x1b[31m\x07 red", "مرحبا 12", "ё" * 200)

MISPLACED = """[...document.querySelectorAll('bdi, strong')].filter((name) => {
  const after = name.nextSibling, before = name.previousSibling;
  const range = document.createRange();
  const near = (text, side) => {
    if (!text || text.nodeType !== 3 || !text.textContent.trim()) return true;
    range.selectNodeContents(text);
    const own = name.getClientRects(), other = [...range.getClientRects()];
    const line = side === 'after' ? own[own.length - 1] : own[0];
    const beside = other.filter((rect) => Math.abs(rect.top - line.top) < 4);
    return beside.every((rect) => side === 'after' ? rect.left >= line.right - 1 : rect.right <= line.left + 1);
  };
  return !(near(after, 'after') && near(before, 'before'));
}).map((name) => name.parentElement.innerText)"""
"""The lines where what follows a name does not begin where the name ends, or what precedes it not end there."""


@pytest.fixture(scope="module")
def odd_names(tmp_path_factory):
    folder = with_findings(with_models(full_run(tmp_path_factory.mktemp("odd") / "run", list(NAMES))))
    return write_report(folder, load_images=colored_images)


def test_names_that_are_written_from_right_to_left_leave_the_rest_in_order(browser, odd_names):
    browser.open(odd_names, 1920)
    browser.unfold()
    assert browser.problems() == []
    assert browser.overflow() == 0
    assert browser.evaluate(MISPLACED) == []
    assert browser.evaluate("document.querySelectorAll('bdi, strong').length") > 50
    assert not browser.evaluate("document.querySelectorAll('main b b, main strong b, td b').length")
    browser.evaluate("document.querySelectorAll('bdi, strong').forEach((one) => { one.style.unicodeBidi = 'normal'; })")
    assert browser.evaluate(MISPLACED) != []


def test_the_map_names_odd_classes_in_order(browser, odd_names):
    browser.open(odd_names)
    for number, name in enumerate(NAMES[:3]):
        point_at(browser, number)
        assert browser.text("#map-text").endswith(f"your label: {name}")
