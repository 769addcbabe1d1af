"""The draws of the benchmarks: long tails, classes without labels, and draws without either as they always were."""

import runpy
from pathlib import Path

import numpy as np
import pytest

SPLITS = runpy.run_path(str(Path(__file__).parents[2] / "benchmarks" / "splits.py"))
Drawing, draw, tail_shares = SPLITS["Drawing"], SPLITS["draw"], SPLITS["tail_shares"]
LABELS = np.repeat(np.arange(6), 200)


def counts(rows):
    return np.bincount(LABELS[rows], minlength=6)


def assert_disjoint(split):
    rows = np.concatenate([split.labeled, split.unlabeled, split.development])
    assert len(rows) == len(np.unique(rows))


def test_a_plain_draw_takes_everything():
    split = draw(LABELS, Drawing(10, 0, 3, development=True))
    assert_disjoint(split)
    assert counts(split.labeled).tolist() == [10] * 6
    assert len(split.labeled) + len(split.unlabeled) + len(split.development) == len(LABELS)
    assert draw(LABELS, Drawing(10, 0, 3)).development.size == 0


@pytest.mark.parametrize(("ratio", "reverse"), [(10, False), (50, False), (10, True)])
def test_a_tail_is_geometric_in_the_unlabeled_images_and_among_the_labels(ratio, reverse):
    drawing = Drawing(60, 0, 5, development=True, tail=ratio, labeled_tail=ratio, reverse=reverse)
    split = draw(LABELS, drawing)
    assert_disjoint(split)
    shares = tail_shares(6, 5, ratio, reverse=reverse)
    assert shares.max() / shares.min() == pytest.approx(ratio)
    assert np.abs(counts(split.unlabeled) / len(split.unlabeled) - shares).max() < 0.02
    of_labels = tail_shares(6, 5, ratio)
    assert counts(split.labeled).tolist() == [max(2, round(60 * share / of_labels.max())) for share in of_labels]
    assert np.argmax(shares) == (np.argmin(of_labels) if reverse else np.argmax(of_labels))
    fewer = draw(LABELS, Drawing(60, 150, 5, development=True, tail=ratio, reverse=reverse))
    assert len(fewer.unlabeled) == pytest.approx(150, abs=4)
    assert np.abs(counts(fewer.unlabeled) / len(fewer.unlabeled) - shares).max() < 0.02
    plain = draw(LABELS, Drawing(60, 0, 5, development=True))
    assert np.array_equal(split.development, plain.development)
    assert set(split.unlabeled) <= set(plain.unlabeled)


@pytest.mark.parametrize("share", [0.5, 0.2])
def test_a_share_of_the_unlabeled_images_is_of_classes_without_labels(share):
    split = draw(LABELS, Drawing(10, 100, 5, development=True, foreign=share))
    assert_disjoint(split)
    assert len(split.known) == 3
    assert np.flatnonzero(counts(split.labeled)).tolist() == split.known.tolist()
    assert np.flatnonzero(counts(split.development)).tolist() == split.known.tolist()
    assert len(split.unlabeled) == 100
    assert np.isin(LABELS[split.unlabeled], split.known).sum() == round(100 * (1 - share))
