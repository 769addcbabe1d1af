import time

import pytest

from noisystudent.yaml_text import MAX_CHARACTERS, YamlTextError, parse_yaml

BOMB = "a0: &a0 {x: 1}\n" + "\n".join(
    f"a{level}: &a{level} {{{', '.join(f'k{key}: *a{level - 1}' for key in range(9))}}}" for level in range(1, 10)
)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("", None),
        ("train: {steps: 5, clip: 1.5}", {"train": {"steps": 5, "clip": 1.5}}),
        ("a: &b [1, 2]\nc: *b", {"a": [1, 2], "c": [1, 2]}),
        ("base: &b {x: 1}\nmore: {<<: *b, y: 2}", {"base": {"x": 1}, "more": {"x": 1, "y": 2}}),
        ("day: 2001-02-30", {"day": "2001-02-30"}),
        ("day: 2001-02-03", {"day": "2001-02-03"}),
        ("x: {a: 1}\ny: {a: 2}", {"x": {"a": 1}, "y": {"a": 2}}),
    ],
)
def test_ordinary_yaml_is_read_and_dates_stay_text(text, value):
    assert parse_yaml(text) == value


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [", "is not YAML"),
        ("train:\n  steps: 7\nnoise: {}\ntrain:\n  clip: 1", "'train' stands twice, in lines 1 and 4"),
        ("train: {steps: 7, steps: 8}", "'steps' stands twice"),
        (BOMB, "once its aliases are written out"),
        ("train: &a {steps: *a}", "contains itself"),
        ("&a [*a]", "contains itself"),
        ("seed: " + "9" * 5000, "too large"),
        ("seed: 0x" + "f" * 5000, "too large"),
        ("seed: " + "1:" * 200 + "1", "too large"),
        ("[" * 3000, "nested more than 20 levels"),
        ("{a: " * 3000, "nested more than 20 levels"),
        ("- 1\n" * 30_000, "more than 20,000 values"),
        ("x" * (MAX_CHARACTERS + 1), "characters"),
        ("x: !!timestamp 2001-02-30", "day is out of range"),
        ("x: !!timestamp soon", "does not fit its tag"),
        ("x: !!bool maybe", "does not fit its tag"),
        ('x: !!int ""', "does not fit its tag"),
        ("x: !!float many", "could not convert"),
        ("x: !!python/object:os.system y", "is not YAML"),
        ("? [1, 2]\n: 3", "is not YAML"),
        ("\x00", "is not YAML"),
        ("a: 1\n---\nb: 2", "is not YAML"),
    ],
)
def test_hostile_yaml_is_refused_before_it_costs_anything(text, message):
    started = time.monotonic()
    with pytest.raises(YamlTextError, match=message) as caught:
        parse_yaml(text)
    assert time.monotonic() - started < 5
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 1000
