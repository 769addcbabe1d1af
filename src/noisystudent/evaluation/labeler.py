"""A checkpoint as a teacher, with the format in which it wants its images."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from noisystudent.data.images import ImageFormat, Images
from noisystudent.evaluation.predict import log_probabilities
from noisystudent.models.load import Place, open_classifier
from noisystudent.models.teacher import NoisedTeacher, Teacher
from noisystudent.runtime.device import open_device
from noisystudent.runtime.settings import RuntimeSettings


@dataclass(frozen=True)
class Labeler:
    """A checkpoint as a teacher, and the format in which it wants its images."""

    teacher: Teacher
    format: ImageFormat
    runtime: RuntimeSettings

    @classmethod
    def open(cls, checkpoint: Place, runtime: RuntimeSettings, *, noised: bool = False) -> Labeler:
        """Loads a checkpoint, a folder or ``timm:NAME``, onto the device.

        ``noised`` keeps its dropout and stochastic depth on.
        """
        kind = NoisedTeacher if noised else Teacher
        teacher = kind(open_classifier(checkpoint).to(open_device(runtime)))
        return cls(teacher, ImageFormat(teacher.size, 1 if teacher.channels == 1 else 3), runtime)

    def __call__(self, images: Images) -> npt.NDArray[np.float32]:
        """Log-probabilities [N, K] of images that were decoded in ``format``."""
        runtime = self.runtime
        return log_probabilities(self.teacher, images, batch_size=runtime.label_batch_size, precision=runtime.precision)
