"""The list of measures is the one place that names them all: settings, results, views and folders agree with it."""

import inspect
from dataclasses import fields
from pathlib import Path
from typing import get_args, get_type_hints

import pytest

import noisystudent.evaluation
from noisystudent.artifacts.typed_json import from_json, to_json
from noisystudent.errors import ArtifactError
from noisystudent.evaluation.measures import MEASURES, views
from noisystudent.evaluation.results import RobustnessResult
from noisystudent.evaluation.settings import EvaluationSettings, Suite
from noisystudent.evaluation.suite import MeasureModule, check_suite, module_of
from robustness_examples import comparison_of, parsed

NAMES = [measure.name for measure in MEASURES]


def test_the_suite_of_the_settings_has_all_measures_and_clean_accuracy():
    assert set(get_args(Suite)) == {"clean", *NAMES}


def test_results_have_a_field_per_measure_in_the_same_order():
    assert [field.name for field in fields(RobustnessResult) if field.name in NAMES] == NAMES


@pytest.mark.parametrize("measure", MEASURES, ids=NAMES)
def test_every_measure_has_a_folder_that_gives_the_type_of_its_field(measure):
    module = module_of(measure)
    returned = get_type_hints(module.measure)["return"]
    assert get_type_hints(RobustnessResult)[measure.name] == returned | None
    assert get_type_hints(module.check)["return"] is type(None)
    for function in ("check", "measure"):
        expected = [*inspect.signature(getattr(MeasureModule, function)).parameters][1:]
        assert [*inspect.signature(getattr(module, function)).parameters] == expected
    folder = Path(noisystudent.evaluation.__file__).parent / measure.folder
    assert {"measure.py", "results.py", "view.py"} <= {path.name for path in folder.iterdir()}


def test_views_come_in_the_order_of_the_list_after_those_named_first():
    assert views() == [measure.view for measure in MEASURES]
    assert [view.title for view in views("calibration", "attacks")] == [
        "Calibration", "Attacks", "Corruptions", "Perturbations", "Naturally shifted sets",
    ]  # fmt: skip


def test_a_model_without_measures_is_displayed_as_nothing():
    content = comparison_of("one")
    for name in NAMES:
        del content["measured"]["one"][name]
    comparison = parsed(content)
    for view in views():
        assert view.summary(comparison) == ""
        assert view.generated(comparison) is view.table(comparison) is None
        assert not [*view.columns(comparison), *view.charts(comparison), *view.explanations(comparison)]
        assert not [*view.lines(comparison.measured["one"]), *view.warnings(comparison.measured["one"])]


def test_results_survive_their_json():
    result = parsed(comparison_of("one", "two")).measured["two"]
    content = to_json(result)
    assert content["corruptions"]["errors"]["fog"].keys() == {"1", "3", "5"}
    assert from_json(RobustnessResult, content, "The file") == result
    content["attacks"]["norm"] = "l1"
    with pytest.raises(ArtifactError, match=r"The file is not what this program writes: attacks\.norm"):
        from_json(RobustnessResult, content, "The file")


def test_an_empty_suite_needs_nothing():
    check_suite(EvaluationSettings(), ("a", "b"))
