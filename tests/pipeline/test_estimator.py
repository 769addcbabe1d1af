"""NoisyStudentClassifier keeps scikit-learn's contract, and unlabeled rows help it."""

import pickle
import re
from pathlib import Path

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import load_digits, make_blobs
from sklearn.decomposition import PCA
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from noisystudent import NoisyStudentClassifier, api
from noisystudent.config import given_values
from noisystudent.errors import SettingsError

QUICK = NoisyStudentClassifier(steps=40, rounds=1)


# y of -1 and 1 is taken for two classes, with a warning.
@pytest.mark.filterwarnings("ignore:y has only -1 and 1:UserWarning", "ignore::sklearn.exceptions.SkipTestWarning")
@parametrize_with_checks([QUICK])
def test_it_keeps_the_contract_of_scikit_learn(estimator, check):
    check(estimator)


@pytest.fixture(scope="module")
def moons():
    """Two curved bands [1000, 2] of 500 rows each, of which 3 have a label, and their classes."""
    random = np.random.default_rng(0)
    angle = random.uniform(0, np.pi, 1000)
    upper = np.repeat([True, False], 500)
    x = np.where(upper, np.cos(angle), 1 - np.cos(angle))
    y = np.where(upper, np.sin(angle), 0.4 - np.sin(angle))
    rows = np.stack([x, y], axis=1) + random.normal(0, 0.05, (1000, 2))
    truth = (~upper).astype(int)
    given = np.full(1000, -1)
    for label in (0, 1):
        given[random.choice(np.flatnonzero(truth == label), 3, replace=False)] = label
    return rows, given, truth


def test_unlabeled_rows_help_where_labels_alone_do_not(moons):
    rows, given, truth = moons
    alone = NoisyStudentClassifier(rounds=0, random_state=0).fit(rows, given)
    found = NoisyStudentClassifier(random_state=0).fit(rows, given)
    assert found.score(rows, truth) > max(0.9, alone.score(rows, truth) + 0.01)


def test_it_says_which_rows_trained_it_in_which_round(moons):
    rows, given, truth = moons
    found = NoisyStudentClassifier(rounds=2, steps=40, random_state=0).fit(rows, given)
    known = given != -1
    assert (found.transduction_[known] == given[known]).all()
    assert (found.labeled_iter_[known] == 0).all()
    assert set(found.labeled_iter_[~known]) <= {1, 2, -1}
    assert (found.transduction_ == truth).mean() > 0.88
    half = NoisyStudentClassifier(rounds=1, fraction=0.5, steps=40, random_state=0).fit(rows, given)
    assert (half.labeled_iter_ == 1).sum() == pytest.approx(0.5 * (~known).sum(), abs=2)
    assert (half.transduction_[half.labeled_iter_ == -1] == -1).all()


def test_texts_are_classes_and_minus_one_among_them_is_no_label(moons):
    rows, given, _ = moons
    names = np.array(["down", "up"], object)
    text = np.where(given == -1, -1, names[np.maximum(given, 0)])
    by_text = clone(QUICK).set_params(random_state=0).fit(rows, text)
    by_number = clone(QUICK).set_params(random_state=0).fit(rows, given)
    assert list(by_text.classes_) == ["down", "up"]
    assert (by_text.predict(rows) == names[by_number.predict(rows)]).all()
    assert set(by_text.transduction_) <= {"down", "up", -1}


def test_the_same_seed_gives_the_same_bits_and_a_pickle_answers_alike(moons):
    rows, given, _ = moons
    first, second = (clone(QUICK).set_params(random_state=3).fit(rows, given) for _ in range(2))
    other = clone(QUICK).set_params(random_state=4).fit(rows, given)
    assert (first.predict_proba(rows) == second.predict_proba(rows)).all()
    assert (pickle.loads(pickle.dumps(first)).predict_proba(rows) == first.predict_proba(rows)).all()
    assert (first.predict_proba(rows) != other.predict_proba(rows)).any()


def test_a_row_is_answered_alike_alone_and_among_others(moons):
    rows, given, _ = moons
    found = clone(QUICK).fit(rows, given)
    np.testing.assert_allclose(found.predict_proba(rows[:1]), found.predict_proba(rows)[:1], rtol=1e-12)


def test_it_stands_in_a_pipeline_and_in_a_grid_search():
    rows, truth = make_blobs(120, centers=3, cluster_std=0.5, random_state=0)
    given = np.where(np.arange(120) % 4 == 0, truth, -1)
    steps = make_pipeline(StandardScaler(), PCA(2), NoisyStudentClassifier(steps=100, rounds=1, random_state=0))
    search = GridSearchCV(steps, {"noisystudentclassifier__hidden": [(16,), (64,)]}, cv=2, error_score="raise")
    search.fit(rows[given != -1], given[given != -1])
    assert search.best_score_ > 0.8
    assert steps.fit(rows, given).score(rows, truth) > 0.8


def test_one_class_is_always_the_answer():
    found = clone(QUICK).fit(np.eye(4), ["a"] * 4)
    assert list(found.predict(np.eye(4))) == ["a"] * 4
    assert (found.predict_proba(np.eye(4)) == 1).all()


def test_minus_one_and_one_other_number_are_two_classes_with_a_warning():
    rows, truth = make_blobs(40, centers=2, random_state=0)
    with pytest.warns(UserWarning, match="these are taken for two classes"):
        found = clone(QUICK).fit(rows, 2 * truth - 1)
    assert list(found.classes_) == [-1, 1]


PIXELS = np.zeros((4, 8, 8), np.uint8)


@pytest.mark.parametrize(
    ("given", "rows", "y", "message"),
    [
        ({"rounds": -1}, np.eye(4), [0, 1, 0, 1], "rounds is -1; give a whole number of at least 0"),
        ({"steps": 0}, np.eye(4), [0, 1, 0, 1], "steps is 0"),
        ({"hidden": 64}, np.eye(4), [0, 1, 0, 1], "hidden is 64; give a sequence"),
        ({"noise": -0.1}, np.eye(4), [0, 1, 0, 1], "noise is -0.1"),
        ({"fraction": 2}, np.eye(4), [0, 1, 0, 1], "fraction is 2; give a number above 0, up to 1"),
        ({"backbone": "auto"}, np.eye(4), [0, 1, 0, 1], "backbone has no effect on feature vectors"),
        ({"noise": 0.1, "hidden": (2,)}, PIXELS, [0, 1, 0, 1], "hidden, noise has no effect on images"),
        ({"rounds": 0}, PIXELS, [0, 1, 0, 1], "rounds is 0; give a whole number of at least 1"),
        ({}, np.eye(4), [-1] * 4, "no row is labeled"),
        ({}, PIXELS.astype(float), [0, 1, 0, 1], "images as uint8"),
        ({}, PIXELS, [0, 0, 0, 0], "images need at least 2 classes"),
        ({}, np.eye(4), [0.5, 1.5, 0.1, 0.2], "Unknown label type"),
    ],
)
def test_what_cannot_be_used_is_one_clear_message(given, rows, y, message):
    with pytest.raises(ValueError, match=message):
        NoisyStudentClassifier(**given).fit(rows, y)


IMAGE_SETTINGS = {"train.batch_size": 16, "noise.strength": 0.2, "runtime.threads": 1}


@pytest.mark.parametrize("labeled_only", [False, True])
def test_images_train_as_run_and_train_do(labeled_only):
    digits = load_digits()
    pixels = np.rint(digits.images[:120] * (255 / 16)).astype(np.uint8)
    given = np.where((np.arange(120) < 60) | labeled_only, digits.target[:120], -1)
    names = np.array([f"digit {label}" for label in range(10)] + ["unlabeled"], object)
    text = np.where(given == -1, -1, names[given])
    found = NoisyStudentClassifier(
        rounds=1, steps=12, model="tiny_resnet", settings=IMAGE_SETTINGS, random_state=0
    ).fit(pixels, text)
    probabilities = found.predict_proba(pixels)
    assert probabilities.shape == (120, 10)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-5)
    assert (found.predict(pixels) == found.classes_[probabilities.argmax(axis=1)]).all()
    again = pickle.loads(pickle.dumps(found))
    assert (again.predict_proba(pixels) == probabilities).all()
    colors = np.repeat(pixels[..., None], 3, axis=3)
    with pytest.raises(SettingsError, match="unknown setting"):
        clone(found).set_params(settings={"train.stepz": 1}).fit(colors, given)


def test_settings_change_what_the_classifier_sets_by_itself(monkeypatch):
    class Started(Exception):
        pass

    def run(*sources, settings, **options):
        given.update(given_values(settings))
        raise Started

    given: dict = {}
    monkeypatch.setattr(api, "run", run)
    own = {"budget": "5m", "rounds.controls": 1, "model.backbone": "efficientnet-lite0", "seed": 3}
    images = np.zeros((9, 8, 8), np.uint8)
    with pytest.raises(Started):
        NoisyStudentClassifier(settings=own).fit(images, [0, 1, 2] * 2 + [-1] * 3)
    assert own.items() <= given.items()
    assert given["rounds.baselines"] is False


def test_the_code_on_the_page_runs(capsys):
    page = Path(__file__).parents[2] / "docs" / "scikit-learn.md"
    (code,) = re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL)
    exec(compile(code, page.name, "exec"), {})
    assert float(capsys.readouterr().out) > 0.85
