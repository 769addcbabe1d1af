"""Settings of pretraining without labels."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from noisystudent.errors import nearest_name
from noisystudent.settings import PresetSettings
from noisystudent.training.pretraining_presets import PRESETS
from noisystudent.training.settings import RATE_IMAGES

SMALL_VIEW = 64  # pixels; up to this edge, views are made as published for CIFAR-10, above as for ImageNet


class PretrainingSettings(PresetSettings):
    """Pretraining on images without labels, whose weights teacher, students and controls start from."""

    presets = PRESETS

    preset: str = Field(
        "",
        description="published settings by name; settings that you give take precedence over it: " + ", ".join(PRESETS),
    )
    method: Literal["none", "simclr"] = Field(
        "none",
        description="simclr: two random views of an image attract each other and repel all others (Chen et al. 2020). "
        "In run, before the teacher, on the labeled and unlabeled images; the command pretrain always uses simclr",
    )
    epochs: Annotated[float, Field(gt=0)] = Field(100.0, description="how often pretraining shows each image")
    batch_size: Annotated[int, Field(ge=2)] = Field(
        256, description="images per step of pretraining, at least 2, each in two views; more images repel each other"
    )
    optimizer: Literal["lars", "adamw", "sgd"] = Field(
        "adamw", description="of pretraining. lars: steps in proportion to each layer's weights, for large batches"
    )
    learning_rate: Annotated[float, Field(gt=0)] = Field(
        2e-3, description="peak learning rate of pretraining, as rate_scaling says; adamw: about 0.002, lars: 0.3 to 1"
    )
    rate_scaling: Literal["none", "linear", "sqrt"] = Field(
        "none",
        description=f"linear: learning_rate is that of {RATE_IMAGES} images per step; sqrt: of one image, and grows "
        "with the root of their number",
    )
    weight_decay: Annotated[float, Field(ge=0)] = Field(
        1e-4, description="of pretraining; not applied to biases and normalization"
    )
    warmup: Annotated[float, Field(ge=0, lt=1)] = Field(
        0.1, description="fraction of the steps of pretraining in which the learning rate rises linearly"
    )
    temperature: Literal["auto"] | Annotated[float, Field(gt=0, le=10)] = Field(
        "auto",
        description=f"T of the contrastive loss; the smaller, the more the most similar images count; auto: 0.5 up to "
        f"{SMALL_VIEW} px, else 0.1",
    )
    loss: Literal["mean", "sum"] = Field(
        "mean",
        description="mean: over all views; sum: the mean over the first views plus that over the second ones, which is "
        "twice as much (the released code)",
    )
    projection_layers: Annotated[int, Field(ge=1, le=5)] = Field(
        2, description="layers of the head between features and loss, which is thrown away; 2: SimCLR, 3: SimCLRv2"
    )
    kept_layers: Annotated[int, Field(ge=0, le=4)] = Field(
        0,
        description="hidden layers of that head that stay on the encoder, below the last layer of what starts from it; "
        "1: SimCLRv2 fine-tunes from the first of three",
    )
    projection_size: Annotated[int, Field(ge=2, le=4096)] = Field(128, description="dimensions of its output")
    crop_area: Annotated[float, Field(gt=0, le=1)] = Field(
        0.08, description="smallest part of an image that a view shows, as a fraction of its area"
    )
    color: Literal["auto"] | Annotated[float, Field(ge=0, le=2)] = Field(
        "auto", description=f"strength of the color jitter; auto: 0.5 up to {SMALL_VIEW} px, else 1"
    )
    blur: Literal["auto"] | bool = Field(
        "auto", description=f"whether half of the views are blurred; auto: above {SMALL_VIEW} px"
    )

    @model_validator(mode="after")
    def _known_preset(self) -> Self:
        if self.preset and self.preset not in PRESETS:
            raise ValueError(
                f"there is no preset {self.preset!r}.{nearest_name(self.preset, PRESETS)} Known: {', '.join(PRESETS)}"
            )
        return self

    @model_validator(mode="after")
    def _keeps_hidden_layers(self) -> Self:
        if self.kept_layers >= self.projection_layers:
            raise ValueError(
                f"kept_layers is {self.kept_layers}, and of projection_layers {self.projection_layers} all but the "
                f"last can stay; give 0 to {self.projection_layers - 1}, or more projection_layers"
            )
        return self

    @property
    def peak_rate(self) -> float:
        """The largest learning rate, of steps of ``batch_size`` images."""
        factors = {"none": 1.0, "linear": self.batch_size / RATE_IMAGES, "sqrt": self.batch_size**0.5}
        return float(self.learning_rate * factors[self.rate_scaling])

    @property
    def loss_scale(self) -> float:
        """What multiplies the mean loss of all views."""
        return 2.0 if self.loss == "sum" else 1.0

    def resolve_auto(self, size: int) -> PretrainingSettings:
        """The same settings for views of an edge of ``size`` pixels, with ``auto`` replaced."""
        is_small = size <= SMALL_VIEW
        chosen = {"temperature": 0.5 if is_small else 0.1, "color": 0.5 if is_small else 1.0, "blur": not is_small}
        return self.model_copy(update={name: value for name, value in chosen.items() if getattr(self, name) == "auto"})

    def steps(self, images: int) -> int:
        """The steps that ``epochs`` of so many images take, at least one."""
        return max(1, round(self.epochs * images / self.batch_size))
