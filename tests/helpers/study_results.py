"""The result of a study, as its tables and its page show it."""

from noisystudent.results.study import CellResult, StudyResult


def study_result(second: str = "without noise") -> StudyResult:
    """The result of a study of two cells, whose second has the name ``second``."""
    rows = (
        CellResult(name="noisy student", top1=(0.90, 0.94), published=0.839),
        CellResult(
            name=second,
            settings={"noise.unlabeled.input": False},
            top1=(0.88, 0.90),
            difference=-0.03,
            interval=(-0.05, -0.01),
            published=0.836,
            published_difference=-0.003,
            agreement="same sign",
            shown=True,
            samples_seen=1000,
        ),
    )
    return StudyResult(
        name="noise",
        title="Noise",
        question="Does noise help the student?",
        reference="noisy student",
        seeds=(0, 1),
        rows=rows,
        source="the paper, table 6",
        finding="without noise, the student is hardly better than its teacher.",
        test_images=500,
        seconds=90.0,
    )
