"""What there is to do in a run, and whether its models can be compared."""

import pytest

from noisystudent.data.settings import DataSettings
from noisystudent.data.sources.open import open_source
from noisystudent.pipeline.budget.workload import Workload


@pytest.mark.parametrize(
    ("held_out", "given", "can_compare"),
    [
        ([], {}, False),  # four labels per class: none is set aside
        (["test"], {}, True),
        (["validation"], {}, True),
        ([], {"few_labels": 4}, True),
        ([], {"few_labels": 5}, False),
        ([], {"few_labels": 4, "validation_fraction": 0.0}, False),
        (["test"], {"validation_fraction": 0.0}, True),
    ],
)
def test_models_can_be_compared_where_labels_are_held_out_or_set_aside(held_out, given, can_compare):
    sources = {"labeled": open_source("digits:labeled", labeled=True)}
    sources |= {role: open_source("digits:test", labeled=True) for role in held_out}
    load = Workload.of(sources, DataSettings(**given))
    assert load.can_compare == can_compare
    assert (load.classes, load.labeled, load.unlabeled, load.held_out) == (10, 40, 0, 500 * len(held_out))
