"""Corruption errors: against ResNet-50's published accuracies, AlexNet's errors and arithmetic by hand."""

import numpy as np
import pytest

from noisystudent.errors import DataError
from noisystudent.evaluation.corruptions.metrics import (
    ALEXNET_CLEAN_ERROR,
    ALEXNET_ERRORS,
    alexnet_errors,
    corruption_errors,
)
from noisystudent.evaluation.corruptions.tables import EXTRA_CORRUPTIONS, TEST_CORRUPTIONS

# Accuracies of a standard ResNet-50 on 5,000 images per condition: RobustBench at commit 78fcc9e,
# model_info/imagenet/corruptions/unaggregated_results.csv. The order is that of TEST_CORRUPTIONS.
RESNET50 = """
    .602 .4878 .3124 .1422 .0288; .5828 .4486 .2856 .1026 .0352; .4854 .3862 .2904 .113 .0244;
    .5914 .5154 .3808 .2752 .1824; .5362 .3974 .1708 .1306 .1034; .636 .5342 .3754 .2158 .1452;
    .5258 .4302 .356 .2844 .2194; .5468 .312 .3494 .2344 .165; .6106 .4366 .3064 .2864 .2258;
    .6092 .56 .4674 .4024 .236; .736 .7222 .6958 .6496 .5886; .6428 .5824 .466 .2098 .0542;
    .6684 .4514 .5456 .4122 .1702; .638 .6434 .4598 .293 .2088; .6644 .6234 .6004 .4786 .3254
"""
RESNET50_CLEAN = 1 - 0.7672
RESNET50_CES = "77.32 79.27 80.22 74.52 88.63 78.72 79.77 78.27 75.84 66.52 56.95 71.37 85.20 76.81 76.10"

# AlexNet's errors by severity: google-research/augmix at commit 9b9824c gives the same means.
ALEXNET = """
    .69528 .82542 .93554 .98138 .99452; .71224 .85108 .93574 .98182 .99146; .78374 .89808 .94870 .98720 .99548;
    .65624 .73202 .85036 .91364 .94714; .64308 .75054 .88806 .91622 .93344; .58430 .70048 .82108 .89750 .92638;
    .70008 .76992 .80784 .84198 .87198; .71726 .88392 .86468 .91870 .94952; .61390 .79734 .88790 .89942 .93430;
    .67474 .76050 .84378 .87260 .94500; .45140 .48502 .54048 .62166 .72440; .64548 .76150 .88874 .97760 .99270;
    .52596 .70116 .55686 .64076 .80554; .52218 .54620 .73728 .87092 .91262; .51002 .54718 .57294 .65458 .74778
"""


def table_of(text: str) -> dict[str, dict[int, float]]:
    rows = [[float(value) for value in row.split()] for row in text.split(";")]
    return {name: dict(enumerate(row, 1)) for name, row in zip(TEST_CORRUPTIONS, rows, strict=True)}


@pytest.fixture
def resnet50():
    return {name: {s: 1 - accuracy for s, accuracy in row.items()} for name, row in table_of(RESNET50).items()}


def test_resnet50_has_its_published_errors(resnet50):
    plain, normalized = corruption_errors(resnet50), alexnet_errors(resnet50, RESNET50_CLEAN)
    assert 100 * plain.mean == pytest.approx(60.5171, abs=5e-5)
    assert normalized.mean_corruption_error == pytest.approx(76.3673, abs=5e-5)
    assert normalized.relative_mean_corruption_error == pytest.approx(106.2605, abs=5e-5)
    assert list(normalized.corruption_errors) == list(TEST_CORRUPTIONS)
    assert [f"{value:.2f}" for value in normalized.corruption_errors.values()] == RESNET50_CES.split()
    assert plain.missing == ()
    assert plain.present == 15
    assert plain.mean == plain.mean_of_present


def test_it_is_neither_the_mean_of_ratios_nor_the_ratio_of_means(resnet50):
    ours = alexnet_errors(resnet50, RESNET50_CLEAN).mean_corruption_error
    model = np.array([list(row.values()) for row in resnet50.values()])
    alexnet = np.array([list(row.values()) for row in table_of(ALEXNET).values()])
    assert 100 * (model / alexnet).mean() == pytest.approx(75.15, abs=0.005)
    assert 100 * model.mean() / alexnet.mean() == pytest.approx(76.70, abs=0.005)
    assert ours == pytest.approx(100 * (model.sum(axis=1) / alexnet.sum(axis=1)).mean(), abs=1e-9)


def test_alexnet_has_100_and_a_perfect_classifier_has_0():
    alexnet = alexnet_errors(table_of(ALEXNET), ALEXNET_CLEAN_ERROR)
    assert alexnet.mean_corruption_error == pytest.approx(100, abs=1e-9)
    assert alexnet.relative_mean_corruption_error == pytest.approx(100, abs=1e-9)
    assert list(alexnet.corruption_errors.values()) == pytest.approx([100] * 15, abs=1e-9)
    perfect = alexnet_errors({name: dict.fromkeys(range(1, 6), 0.0) for name in TEST_CORRUPTIONS}, 0.0)
    assert perfect.mean_corruption_error == perfect.relative_mean_corruption_error == 0


def test_the_clean_error_of_alexnet_matches_torchvision():
    weights = pytest.importorskip("torchvision.models").AlexNet_Weights.IMAGENET1K_V1
    assert pytest.approx(1 - weights.meta["_metrics"]["ImageNet-1K"]["acc@1"] / 100) == ALEXNET_CLEAN_ERROR


def test_extra_corruptions_are_excluded_from_means(resnet50):
    worst = {name: dict.fromkeys(range(1, 6), 1.0) for name in EXTRA_CORRUPTIONS}
    before, after = corruption_errors(resnet50), corruption_errors(resnet50 | worst)
    assert after.mean == before.mean
    assert after.per_corruption == before.per_corruption | dict.fromkeys(EXTRA_CORRUPTIONS, 1.0)
    assert alexnet_errors(resnet50 | worst, 0.2) == alexnet_errors(resnet50, 0.2)
    assert not set(EXTRA_CORRUPTIONS) & set(ALEXNET_ERRORS)


def test_missing_corruptions_are_named_and_leave_no_mean(resnet50):
    del resnet50["fog"], resnet50["snow"][3], resnet50["snow"][5]
    partial = corruption_errors(resnet50)
    assert partial.missing == ("snow at severity 3, 5", "fog")
    assert partial.mean is None
    assert partial.present == 13
    whole = [row for row in resnet50.values() if len(row) == 5]
    assert partial.mean_of_present == pytest.approx(np.mean([list(row.values()) for row in whole]))
    assert "snow" not in partial.per_corruption
    with pytest.raises(DataError, match="missing: snow at severity 3, 5; fog"):
        alexnet_errors(resnet50, 0.2)
    assert corruption_errors({}).mean_of_present is None


def test_another_set_has_its_own_mean():
    errors = {"sparkles": dict.fromkeys(range(1, 6), 0.5), "plasma_noise": dict.fromkeys(range(1, 6), 0.25)}
    assert corruption_errors(errors, ("sparkles", "plasma_noise")).mean == 0.375


@pytest.mark.parametrize(
    ("errors", "message"),
    [
        ({"gausian_noise": {1: 0.5}}, "Did you mean 'gaussian_noise'"),
        ({"fog": {0: 0.5}}, "fog has severity 0"),
        ({"fog": {1: 60.5}}, "Divide percentages by 100"),
        ({"fog": {1: float("nan")}}, "fog at severity 1 has error nan"),
    ],
)
def test_invalid_errors_are_refused(errors, message):
    with pytest.raises(DataError, match=message):
        corruption_errors(errors)


def test_a_clean_error_in_percent_is_refused(resnet50):
    with pytest.raises(DataError, match="The clean error is 23"):
        alexnet_errors(resnet50, 23.28)
