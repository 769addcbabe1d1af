"""Low-rank adapters beside frozen layers (LoRA, Hu et al. 2022), which become part of the weights after training."""

from __future__ import annotations

from importlib.util import find_spec

from torch import nn

from noisystudent.errors import ModelError
from noisystudent.models.classifier import Classifier
from noisystudent.models.last_layer import last_layer


def require_adapters(tune: str) -> None:
    """Raises ``ModelError`` where peft, which makes the adapters, is not installed; ``tune``: the setting's value."""
    if find_spec("peft") is None:
        raise ModelError(
            f"model.tune {tune} needs peft, which is not installed: pip install 'noisystudent[lora]'; or give "
            "model.tune last:N, which needs nothing."
        )


def add_adapters(classifier: Classifier, rank: int) -> None:
    """Freezes a classifier but for its last layer, and gives its other layers trained adapters of a low rank.

    A layer with weights W answers as if they were W + BA (Hu et al. 2022, equation 3, with alpha equal to the rank); B
    is zero at first, so the classifier's answers stay until it is trained. Linear layers and convolutions have
    adapters, but not those that see a part of the channels only (depthwise ones). torch's generator draws A.

    Args:
        classifier: The classifier, changed in place; ``merge_adapters`` makes it an ordinary one again.
        rank: The rank of BA, at least 1.

    Raises:
        ModelError: No layer can have an adapter.
    """
    from peft import LoraConfig, inject_adapter_in_model

    last = last_layer(classifier, needed_by=f"model.tune lora:{rank}")
    layers = [name for name, module in classifier.net.named_modules() if module is not last and _can_adapt(module)]
    if not layers:
        raise ModelError(
            f"model.tune lora:{rank} needs linear layers or convolutions over all channels, and "
            f"{type(classifier.net).__name__} has none but its last layer; give model.tune all or head."
        )
    config = LoraConfig(r=rank, lora_alpha=rank, target_modules=layers)
    inject_adapter_in_model(config, classifier.net)  # freezes all but the adapters
    last.requires_grad_(True)


def merge_adapters(classifier: Classifier) -> None:
    """Adds a classifier's adapters to the weights beside which they were trained, so that it is an ordinary one.

    Args:
        classifier: The classifier, changed in place; one without adapters stays as it is.
    """
    from peft.tuners.tuners_utils import BaseTunerLayer

    adapted = [(name, module) for name, module in classifier.net.named_modules() if isinstance(module, BaseTunerLayer)]
    for name, module in adapted:
        module.merge()
        classifier.net.set_submodule(name, module.get_base_layer())


def _can_adapt(module: nn.Module) -> bool:
    return isinstance(module, nn.Linear) or (isinstance(module, nn.Conv2d) and module.groups == 1)
