"""The ablations of Xie et al. 2020 as studies, with the paper's own numbers.

Every accuracy is ImageNet top-1 of arXiv 1911.04252, whose versions v1 and v2 have different tables. They say which
sign to expect, not which size: the paper's data and models are larger. Where the paper reports no numbers, ``finding``
has its words and ``expected`` the sign.
"""

from __future__ import annotations

from noisystudent.pipeline.studies.cells import Cell, Study

_PAPER = "Xie et al. 2020"
_COMMON = {"recipe": "paper"}
_ONE_ROUND = {**_COMMON, "rounds.count": 1}
_SMALL, _MIDDLE = "resnet_small_8", "resnet_small_20"
_NO_NOISE = {f"noise.unlabeled.{name}": 0.0 for name in ("strength", "dropout", "stochastic_depth")}
SURE, UNSURE = 0.9, 0.6  # confidence of the hard-soft study: images like the labeled ones, and others

NOISE = Study(
    "noise",
    "Noise of the student",
    "Does a student need its noise? Noise is taken off the unlabeled images only; labeled ones keep it.",
    "noisy student",
    (
        Cell("noisy student", {}, 0.839),
        Cell("without input noise", {"noise.unlabeled.strength": 0.0}, 0.836),
        Cell("without any noise", _NO_NOISE, 0.832),
    ),
    _ONE_ROUND,
    f"{_PAPER}, ablation of noise, EfficientNet-B5, 1.3 M unlabeled images",
    0.833,
)
TEACHER_NOISE = Study(
    "teacher-noise",
    "Noise of the teacher",
    "Should the teacher see noise while it labels?",
    "plain teacher",
    (Cell("plain teacher", {}, 0.839), Cell("noised teacher", {"noise.teacher": True}, 0.837)),
    _ONE_ROUND,
    f"{_PAPER}, ablation of noise, EfficientNet-B5, 1.3 M unlabeled images",
    0.833,
)
ROUNDS = Study(
    "rounds",
    "Rounds",
    "Does it help to make the student the teacher, and to begin again?",
    "1 round",
    (
        Cell("1 round", {"rounds.count": 1}, 0.876),
        Cell("2 rounds", {"rounds.count": 2}, 0.881),
        Cell("3 rounds", {"rounds.count": 3}, 0.884),
    ),
    _COMMON,
    f"{_PAPER}, v2, EfficientNet-L2 (the third round has twice the unlabeled batch)",
)
STUDENT_SIZE = Study(
    "student-size",
    "Size of the student",
    "Is a larger student better than one that equals its teacher?",
    "equal student",
    (
        Cell("equal student", {"model.students": (_SMALL,)}, 0.779),
        Cell("larger student", {"model.students": (_MIDDLE,)}, 0.795),
    ),
    {**_ONE_ROUND, "model.teacher": _SMALL},
    f"{_PAPER}, v2, teacher EfficientNet-B0, students B0 and B1",
    0.773,
)
TEACHER_SIZE = Study(
    "teacher-size",
    "Size of the teacher",
    "Does a small student learn more from a larger teacher?",
    "small teacher",
    (
        Cell("small teacher", {"model.teacher": _SMALL}, 0.779),
        Cell("larger teacher", {"model.teacher": _MIDDLE}, 0.788),
    ),
    {**_ONE_ROUND, "model.students": (_SMALL,)},
    f"{_PAPER}, v2, student EfficientNet-B0 of teacher B0, and of the best larger model",
    0.773,
)
UNLABELED_SHARE = Study(
    "unlabeled-share",
    "Amount of unlabeled images",
    "How many of the unlabeled images are needed?",
    "all",
    (
        Cell("1/16", {"data.unlabeled_share": 0.0625}, 0.839),
        Cell("1/4", {"data.unlabeled_share": 0.25}, 0.838),
        Cell("all", {}, 0.840),
    ),
    _ONE_ROUND,
    f"{_PAPER}, v1, EfficientNet-B4, shares of 130 M images",
    0.832,
)
HARD_SOFT = Study(
    "hard-soft",
    "Hard or soft pseudo labels",
    f"Which pseudo labels serve on images that the teacher is sure of ({SURE} and above) and unsure of (below "
    f"{UNSURE})?",
    "unsure, soft",
    (
        Cell("unsure, soft", {"objective.labels": "soft", "selection.below": UNSURE}, 0.7772),
        Cell("unsure, hard", {"objective.labels": "hard", "selection.below": UNSURE}, 0.7647),
        Cell("sure, soft", {"objective.labels": "soft", "selection.threshold": SURE}, 0.7805),
        Cell("sure, hard", {"objective.labels": "hard", "selection.threshold": SURE}, 0.7792),
    ),
    {**_ONE_ROUND, "selection.threshold": 0.0},
    f"{_PAPER}, v1, EfficientNet-B0, 1.3 M images per bin of confidence; means of the bins from 0 to 0.6, and the bin "
    "from 0.9",
    0.773,
)
BALANCE = Study(
    "balance",
    "Balance of the classes",
    "Should every class have the same number of pseudo labels?",
    "balanced",
    (Cell("balanced", {}), Cell("as they come", {"selection.per_class": "none"})),
    _ONE_ROUND,
    _PAPER,
    finding="balancing helps small models more than large ones.",
    expected={"as they come": -1},
)
JOINT = Study(
    "joint",
    "Joint training",
    "Should a student learn from labels and pseudo labels together, or from pseudo labels first and labels afterwards?",
    "together",
    (Cell("together", {}), Cell("pseudo labels first", {"rounds.joint": False})),
    _ONE_ROUND,
    _PAPER,
    finding="learning from both together is better than pretraining on pseudo labels and fine-tuning on labels.",
    expected={"pseudo labels first": -1},
)
RATIO = Study(
    "ratio",
    "Unlabeled images per labeled one",
    "How many pseudo-labeled images should a step have beside the same labeled ones?",
    "1 to 1",
    (
        Cell("1 to 1", {"train.ratio": 1.0}, 0.867),
        Cell("3 to 1", {"train.ratio": 3.0}, 0.874),
        Cell("7 to 1", {"train.ratio": 7.0}),
    ),
    {**_ONE_ROUND, "train.batch": "labeled", "rounds.control": "steps"},
    f"{_PAPER}, v2, teacher EfficientNet-L2 of 87.0 (with teacher B4 both have 84.0)",
    expected={"7 to 1": 1},
)
WARM_START = Study(
    "warm-start",
    "Start of the student",
    "Should a student start from its teacher's weights?",
    "from scratch",
    (Cell("from scratch", {}), Cell("from its teacher", {"train.warm_start": True})),
    _ONE_ROUND,
    _PAPER,
    finding="with long training from scratch is the better start; a warm start needs fewer epochs.",
    expected={"from its teacher": -1},
)
THRESHOLD = Study(
    "threshold",
    "Confidence threshold",
    "How sure must a teacher be of an image that trains?",
    "0.3",
    (
        Cell("0", {"selection.threshold": 0.0}),
        Cell("0.3", {"selection.threshold": 0.3}),
        Cell("0.6", {"selection.threshold": 0.6}),
        Cell("0.9", {"selection.threshold": 0.9}),
    ),
    _ONE_ROUND,
    _PAPER,
    finding="0.3 was used; images below it were taken to be of no class.",
)

PAPER_STUDIES = {
    study.name: study
    for study in (
        *(NOISE, TEACHER_NOISE, ROUNDS, STUDENT_SIZE, TEACHER_SIZE, UNLABELED_SHARE),
        *(HARD_SOFT, BALANCE, JOINT, RATIO, WARM_START, THRESHOLD),
    )
}
"""The studies by name."""
