"""The settings of a run as one object: its sources, and a section for each part, which lives beside its owner."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from noisystudent.data.settings import DataSettings
from noisystudent.duration import parse_duration, parse_samples
from noisystudent.evaluation.settings import EvaluationSettings
from noisystudent.losses.settings import DistillationSettings, ObjectiveSettings, OnlineSettings
from noisystudent.models.settings import ModelSettings
from noisystudent.noise.settings import NoiseSettings
from noisystudent.pseudo_labels.selection.settings import SelectionSettings
from noisystudent.runtime.settings import RuntimeSettings
from noisystudent.settings import Settings
from noisystudent.training.fix_settings import FixSettings
from noisystudent.training.pretraining_settings import PretrainingSettings
from noisystudent.training.settings import HeadSettings, TrainSettings

Recipe = Literal[
    "curriculum",
    "paper",
    "bit",
    "online",
    "simclrv2",
    "distillation",
    "compression",
    "reversed",
    "defective",
    "self-taught",
    "virtual-teacher",
    "born-again",
    "assistants",
    "ensemble",
]


_LAST, _ALL = re.compile(r"last:([1-9]\d*)"), "all"  # of a run's own models, those that label


def names_own_teachers(text: str) -> bool:
    """Whether an entry of ``rounds.teachers`` stands for models of the run itself."""
    return text == _ALL or _LAST.fullmatch(text) is not None


class RoundSettings(Settings):
    """How often the student becomes the teacher, who labels, and when a student is worse and not kept."""

    count: Annotated[int, Field(ge=0, le=100)] = Field(
        5, description="rounds of label, select, train, evaluate; 0: none, only the student of online.method"
    )
    teachers: Annotated[tuple[str, ...], Field(min_length=1)] = Field(
        ("last:1",),
        description="models whose mean labels in a round: last:N (the run's N latest models, the teacher and students "
        "that were kept) or all, and finished models from elsewhere (a folder, timm:NAME), such as "
        "last:2,runs/other; several are weighted by validation accuracy where there are validation labels",
    )
    worse_p: Annotated[float, Field(gt=0, lt=1)] = Field(
        0.05,
        description="a student is worse, and not kept, if validation shows it at this level of McNemar's exact test",
    )
    joint: bool = Field(
        True,
        description="students learn from labels and pseudo labels together; false: from pseudo labels first and from "
        "labels afterwards, as many images of each in all (an ablation in the paper)",
    )
    baselines: bool | Literal["auto"] = Field(
        "auto",
        description="simple classifiers on the same labels and test: logistic regression and label spreading on a "
        "frozen backbone's features, the probes of an encoder that the run pretrains, else a support vector machine on "
        "HOG (needs noisystudent[baselines]); auto: where models are heads, on an encoder, and where they take less "
        "than a twentieth of the run; on features of at most 20,000 images, on HOG beside runs of at least a minute",
    )
    control: Literal["samples", "steps", "both"] = Field(
        "samples",
        description="how long the labels-only models of controls train with train.batch labeled. samples: on as many "
        "images as the student's weights have seen; steps: for as many steps, with the labeled images of the student's "
        "batches (the paper's supervised models); both: both, and the verdict compares with those of samples",
    )
    controls: Annotated[int, Field(ge=0, le=10)] = Field(
        2,
        description="labels-only models that the student is compared with, each trained on as many samples as its "
        "weights have seen; the teacher is one of them if its training is the same; 0 = none, and no verdict",
    )

    @property
    def given_teachers(self) -> tuple[str, ...]:
        """The models from elsewhere that label."""
        return tuple(name for name in self.teachers if not names_own_teachers(name))

    @property
    def own_teachers(self) -> int:
        """How many of the run's latest models label; as many as there can be for all."""
        last = [int(found[1]) for name in self.teachers if (found := _LAST.fullmatch(name))]
        return self.count if _ALL in self.teachers else max(last, default=0)

    def teachers_of(self, number: int) -> int:
        """How many models label in round ``number`` if all before it are kept."""
        return min(self.own_teachers, number) + len(self.given_teachers)

    @model_validator(mode="after")
    def _teachers_exist(self) -> RoundSettings:
        own = [name for name in self.teachers if name not in self.given_teachers]
        if len(own) > 1 or len(set(self.teachers)) < len(self.teachers):
            raise ValueError(
                f"teachers are {', '.join(self.teachers)}: give one of last:N and all, and each model once"
            )
        for name in self.given_teachers:
            if not name or name.startswith("last"):
                raise ValueError(
                    f"teachers: {name!r} is no model; write last:N with N from 1, all, or a finished model"
                )
        if self.count and self.own_teachers > self.count:
            raise ValueError(
                f"teachers: {own[0]} needs {self.own_teachers} models, and the last of {self.count} "
                f"round{'s' if self.count > 1 else ''} (rounds.count) has {self.count} before it, the teacher "
                f"included; give at most last:{self.count}, or all"
            )
        return self


class RunSettings(Settings):
    """All settings of a run."""

    labeled: str = Field(
        "",
        description="labeled images: a folder with one folder per class, an .npz file, or digits; only distill can do "
        "without",
    )
    unlabeled: str | None = Field(None, description="unlabeled images: a folder, an .npz file, or digits:unlabeled")
    validation: str | None = Field(
        None,
        description="labeled images to compare models on; without them, a part of --labeled is set aside, but for fix",
    )
    test: str | None = Field(None, description="labeled images to report scores on; they choose nothing")
    out: str = Field(description="folder of the run; run the same command again to resume")
    recipe: Recipe = Field(
        "curriculum",
        description="settings to start from. For run: curriculum, paper (Xie et al. 2020), online (docs/online.md), "
        "simclrv2 (docs/pretraining.md) or bit (BiT's transfer, also for train; docs/transfer.md). "
        "For distill: the others "
        "(docs/distillation.md)",
    )
    seed: Annotated[int, Field(ge=0)] = Field(0, description="seed of all randomness")
    budget: str = Field(
        "auto",
        description="what the run may take, such as 90s, 15m or 2h: it chooses what you leave open (image size, views, "
        "steps, rounds) after a few seconds of measurement; or images that training may see in all, such as "
        "76800samples; none: the settings as they are; auto: 15m on a CPU, 60m on an accelerator, none with "
        "train.steps, train.epochs, pretraining.method or the recipes paper and bit",
    )
    rounds: RoundSettings = RoundSettings()
    data: DataSettings = DataSettings()
    model: ModelSettings = ModelSettings()
    noise: NoiseSettings = NoiseSettings()
    train: TrainSettings = TrainSettings()
    head: HeadSettings = HeadSettings()
    selection: SelectionSettings = SelectionSettings()
    objective: ObjectiveSettings = ObjectiveSettings()
    distillation: DistillationSettings = DistillationSettings()
    online: OnlineSettings = OnlineSettings()
    fix: FixSettings = FixSettings()
    pretraining: PretrainingSettings = PretrainingSettings()
    evaluation: EvaluationSettings = EvaluationSettings()
    runtime: RuntimeSettings = RuntimeSettings()

    @field_validator("budget")
    @classmethod
    def _is_a_duration(cls, text: str) -> str:
        if text not in ("auto", "none") and parse_samples(text) is None:
            parse_duration(text)
        return text
