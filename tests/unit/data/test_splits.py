"""Which labels train and which validate, depending on the other held-out sources."""

import pytest

from noisystudent.data.settings import DataSettings
from noisystudent.data.splits import open_splits

LABELED = "digits:unlabeled"  # 1,257 images, about 125 per class


@pytest.mark.parametrize(
    ("test", "few_labels_beside_test", "carved"),
    [(None, 250, True), ("digits:test", 250, False), ("digits:test", 100, True)],
)
def test_beside_a_test_source_labels_are_set_aside_only_when_there_are_many(test, few_labels_beside_test, carved):
    settings = DataSettings(few_labels_beside_test=few_labels_beside_test)
    splits = open_splits({"labeled": LABELED, "test": test}, settings, seed=0)
    assert (splits.validation is not None) == carved
    validation = len(splits.validation) if splits.validation else 0
    assert validation == pytest.approx(0.2 * 1257, abs=5) if carved else validation == 0
    assert len(splits.labeled) + validation == 1257


def test_a_given_validation_source_leaves_all_labels_to_training():
    splits = open_splits({"labeled": LABELED, "validation": "digits:test"}, DataSettings(), seed=0)
    assert len(splits.labeled) == 1257
    assert splits.validation is not None
    assert len(splits.validation) == 500
