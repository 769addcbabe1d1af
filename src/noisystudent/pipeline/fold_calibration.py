"""The temperature of a run without validation labels: fitted on labels that the models of cross-fitting did not see.

These models have the architecture, the noise and the objective of the delivered one and half of its labels, so their
confidences are off in the same way (NOTEBOOK.md has a run).
"""

from __future__ import annotations

from noisystudent.evaluation.metrics.temperature import fit_temperature
from noisystudent.models.calibration import Calibration, read_calibration, write_calibration
from noisystudent.pipeline.context import RunContext
from noisystudent.pipeline.noise_search import STRENGTH
from noisystudent.pipeline.summary import CrossFit
from noisystudent.results.run import StageCost

FOLD_CALIBRATION = f"{STRENGTH}/calibration"


def calibration_by_folds(context: RunContext, cross_fit: CrossFit | None) -> Calibration | None:
    """The temperature that fits the answers of cross-fitting; None for a run whose labels were not cross-fitted."""
    if cross_fit is None:
        return None
    stage, inputs = FOLD_CALIBRATION, {**cross_fit.inputs, "precision": context.settings.runtime.precision}
    folder = context.folder_of(stage)
    if not context.is_complete(stage, inputs):
        answers = cross_fit.answers()
        labels = len(answers.labels)
        temperature = fit_temperature(answers.log_probabilities, answers.labels)
        found = Calibration(temperature=temperature, labels=labels, fitted_on="cross-fitted labels")

        def write() -> None:
            write_calibration(folder, found)
            context.commit(STRENGTH, inputs, StageCost(name=stage, images_predicted=labels))

        context.engine.group.on_main(write)
    return read_calibration(folder)
