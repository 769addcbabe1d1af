"""Whatever is given as settings, in whatever form: settings come out, or one clear line."""

from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from noisystudent.config import ALL_SETTINGS, resolve
from noisystudent.cost.read import read_assumptions
from noisystudent.data.settings import DataSettings
from noisystudent.errors import NoisyStudentError
from noisystudent.noise.settings import NoiseSettings
from noisystudent.run_settings import RunSettings
from noisystudent.settings_input import section_classes
from noisystudent.training.settings import TrainSettings

TRIES = settings(
    max_examples=250, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck)
)
SECTIONS = sorted(section_classes(RunSettings))
COMMANDS = ["run", "plan", "train", "pretrain", "distill"]
NAMES = st.one_of(
    st.sampled_from([*ALL_SETTINGS, *SECTIONS]), st.text(max_size=8), st.integers(), st.none(), st.booleans()
)
HOSTILE_TEXT = [
    "", "auto", "none", "null", "~", "1e309", "-0", "0x" + "f" * 5000, "9" * 5000, "2001-02-30", "[" * 200, "{a: 1}",
    "[1, [2]]", "a,b,,c", "!!bool x", "&a [*a]", "\x00", "\ud800", "nan", ".inf", "true", "timm", "kd", "paper", "svhn",
    "efficientnet:b0,b1", "efficientnet:", "paper:hinton2015", "natural=x", "a: b: c", "'", "%TAG ! x", "0.5,1",
]  # fmt: skip
SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.sampled_from([5000, 20]).map(lambda digits: 10**digits),
    st.text(max_size=12), st.sampled_from(HOSTILE_TEXT), st.binary(max_size=4), st.dates(), st.just(Path("x")),
    st.just(object()), st.just(RunSettings), st.just(TrainSettings(steps=3)), st.just(NoiseSettings(preset="svhn")),
)  # fmt: skip
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(NAMES, inner, max_size=4), st.tuples(inner)),
    max_leaves=8,
)
MAPPINGS = st.one_of(st.dictionaries(NAMES, VALUES, max_size=5), st.dictionaries(NAMES, SCALARS, max_size=5))
OBJECTS = st.sampled_from([TrainSettings(clip=2.0), DataSettings(size=32), NoiseSettings(preset="none"), 5, "x", None])


def recursive_list() -> list[object]:
    cycle: list[object] = []
    cycle.append(cycle)
    return cycle


@TRIES
@given(
    st.one_of(MAPPINGS, OBJECTS, st.lists(st.one_of(MAPPINGS, OBJECTS), max_size=3), VALUES),
    st.sampled_from(COMMANDS),
)
def test_settings_in_python_give_settings_or_one_line(values, command):
    check(lambda: resolve([{"labeled": "a", "unlabeled": "b", "out": "c"}, values], command=command))


@TRIES
@given(
    st.dictionaries(st.sampled_from([*ALL_SETTINGS]), st.one_of(st.text(), st.sampled_from(HOSTILE_TEXT)), max_size=4),
    st.sampled_from(COMMANDS),
)
def test_text_of_the_command_line_gives_settings_or_one_line(values, command):
    check(lambda: resolve({"labeled": "a", "unlabeled": "b", "out": "c", **values}, command=command))


@TRIES
@given(st.one_of(st.text(), MAPPINGS.map(lambda value: dump(value)), st.sampled_from(HOSTILE_TEXT)))
def test_a_file_gives_settings_or_one_line(tmp_path_factory, text):
    file = tmp_path_factory.getbasetemp() / "fuzzed.yaml"
    file.write_text(text, encoding="utf-8", errors="surrogatepass")
    check(lambda: resolve({"labeled": "a", "unlabeled": "b", "out": "c"}, file))
    check(lambda: read_assumptions(file))


@TRIES
@given(st.lists(st.tuples(NAMES, st.sampled_from(HOSTILE_TEXT)), max_size=5))
def test_lines_of_yaml_give_settings_or_one_line(tmp_path_factory, lines):
    file = tmp_path_factory.getbasetemp() / "lines.yaml"
    text = "\n".join(f"{name}: {value}" for name, value in lines)
    file.write_text(text, encoding="utf-8", errors="surrogatepass")
    check(lambda: resolve({"labeled": "a", "unlabeled": "b", "out": "c"}, file))
    check(lambda: read_assumptions(file))


@pytest.mark.parametrize("value", [recursive_list(), {"train": recursive_list()}, {"noise.preset": recursive_list()}])
def test_values_that_contain_themselves_are_one_line(value):
    check(lambda: resolve(value))


def dump(value: object) -> str:
    try:
        return yaml.dump(value)
    except Exception:  # not everything can be YAML
        return "a: ["


def check(call) -> None:
    """Calls and accepts a result, or one line of at most a few thousand characters."""
    message = ""
    try:
        call()
    except NoisyStudentError as error:
        message = str(error)
    assert "\n" not in message
    assert len(message) < 20_000
