"""The card of a checkpoint: a README.md that says what the model is and shows how to open it."""

from __future__ import annotations

from noisystudent.models.classifier import Classifier
from noisystudent.models.create import REGISTERING_MODULE, is_registered_here
from noisystudent.runtime.markdown import in_markdown

CARD = "README.md"
CLASSES_NAMED = 20


def card_text(classifier: Classifier, *, factory: str = "") -> str:
    """The card of a classifier; its code runs in the checkpoint's folder.

    Args:
        classifier: the classifier.
        factory: identifies the function that builds a user's own architecture.
    """
    return f"{card_head(classifier)}\n{usage(classifier, factory=factory)}"


def card_head(classifier: Classifier) -> str:
    """The title of a card, and a sentence on classes and images."""
    classes = tuple(map(in_markdown, classifier.classes[:CLASSES_NAMED]))
    more = ", ..." if len(classifier.classes) > CLASSES_NAMED else ""
    kind = "gray" if classifier.channels == 1 else "color"
    images = f"{kind} images of {classifier.size} x {classifier.size} pixels"
    title = f"# {in_markdown(classifier.name)}\n\n"
    if not classes:
        return f"{title}{_of_encoder(images)}"
    return (
        f"{title}A classifier of {len(classifier.classes)} classes ({', '.join(classes)}{more}) for {images}, trained "
        "with noisystudent. The classes and the preprocessing are in `config.json`.\n"
    )


def usage(classifier: Classifier, *, factory: str = "") -> str:
    """How a checkpoint is opened with this package and with timm; the arguments are those of ``card_text``."""
    with_timm = _with_timm(classifier.name, factory)
    return f"{_with_noisystudent(factory)}\n{with_timm}" if classifier.classes else with_timm


def _of_encoder(images: str) -> str:
    return (
        f"An encoder for {images}, pretrained without labels with noisystudent: it gives features and has no "
        "classifier. The preprocessing is in `config.json`.\n\n"
        "With noisystudent, train a classifier from this folder: `noisystudent train --start . --labeled ...`, or "
        "`noisystudent run --start . ...`.\n"
    )


def _with_noisystudent(factory: str) -> str:
    if factory:
        return (
            f"The network is a user's own, built by `{factory}`. Open it with that function: "
            '`noisystudent.load(".", factory=...)`.\n'
        )
    return (
        "With noisystudent, from this folder:\n\n"
        '```python\nimport noisystudent\n\nmodel = noisystudent.load(".")\n'
        "print(model)  # model.predict takes images and gives names of classes\n```\n"
    )


def _with_timm(name: str, factory: str) -> str:
    if factory:
        return "timm does not know the network, so it cannot open this folder.\n"
    code = 'import timm\n\nnetwork = timm.create_model("local-dir:.", pretrained=True).eval()\n'
    code += "print(timm.data.resolve_model_data_config(network))  # size, mean and standard deviation of its input"
    if not is_registered_here(name):
        return f"With timm alone, which has this architecture:\n\n```python\n{code}\n```\n"
    return (
        f"With timm. The architecture is noisystudent's own, so timm knows it only after `import {REGISTERING_MODULE}`:"
        f"\n\n```python\nimport {REGISTERING_MODULE}\n{code}\n```\n"
    )
