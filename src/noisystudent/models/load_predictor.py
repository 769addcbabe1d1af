"""Opens or wraps any model as a predictor: ``noisystudent.load``."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from noisystudent.errors import SettingsError
from noisystudent.models.factory import ModelFactory
from noisystudent.models.load import CheckpointName
from noisystudent.models.load_arguments import refuse_given, runtime_for
from noisystudent.models.predictor import Predictor
from noisystudent.runtime.settings import RuntimeSettings

_DEFAULTS = RuntimeSettings()


def load(
    model: CheckpointName | nn.Module | Predictor,
    *,
    classes: Sequence[str] | None = None,
    size: int | None = None,
    channels: int | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    device: str | None = None,
    batch_size: int | None = None,
    factory: ModelFactory | None = None,
) -> Predictor:
    """Opens a checkpoint, or wraps a module, as a predictor: the form that every function takes a model in.

    Args:
        model: a checkpoint's folder; the folder of a run (its ``best/`` is opened); ``timm:NAME`` for published
            weights; ``local-dir:FOLDER`` for a folder in timm's hub layout; a module; or a predictor, which is
            returned as it is.
        classes: for a module: names of the classes, in the order of the logits.
        size: for a module: edge in pixels of the square images that it takes.
        channels: for a module: 3 (default), or 1 for gray images.
        mean: for a module, with ``std``: per channel, for pixels from 0 to 1. The module then gets
            (pixels - mean) / std. Without both it gets pixels from 0 to 1.
        std: see ``mean``.
        device: for a checkpoint: ``auto`` (default), ``cpu``, ``cuda``, ``cuda:1`` or ``mps``. A module stays where it
            is.
        batch_size: images per forward pass; by default ``runtime.label_batch_size auto`` for a checkpoint, 256 for a
            module.
        factory: for a checkpoint whose architecture is the user's own: the function that builds its network.

    Returns:
        The predictor. ``predict``, ``predict_proba`` and ``features`` take images; ``noisystudent.label``,
        ``evaluate``, ``predict``, ``robustness``, ``compare`` and ``distill`` take the predictor.

    Raises:
        ModelError: the checkpoint or the module cannot be used; the message says why.
        SettingsError: an argument is missing, or does not apply to this kind of model.
    """
    of_module = {"classes": classes, "size": size, "channels": channels, "mean": mean, "std": std}
    of_checkpoint = {"device": device, "factory": factory}
    if isinstance(model, Predictor):
        refuse_given("a predictor has its own", of_module | of_checkpoint | {"batch_size": batch_size})
        return model
    if isinstance(model, nn.Module):
        refuse_given("a module is used where it is and as it is; move it with its own to()", of_checkpoint)
        if classes is None or size is None:
            missing = [f"{name}=..." for name in ("classes", "size") if of_module[name] is None]
            raise SettingsError(
                f"load was given a module ({type(model).__name__}) without {' and '.join(missing)}: a module does not "
                "say what its outputs mean or which images it takes. Give classes (names in the order of the logits) "
                "and size (edge in pixels)."
            )
        return Predictor.of_module(
            model, classes=classes, size=size, channels=channels or 3, mean=mean, std=std, batch_size=batch_size or 256
        )
    refuse_given("they come from the checkpoint", of_module)
    runtime = runtime_for(device or _DEFAULTS.device, batch_size or _DEFAULTS.label_batch_size)
    return Predictor.open(model, runtime, factory=factory)
