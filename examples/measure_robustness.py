"""A labels-only model and its student on the same corrupted and attacked images."""

import noisystudent as ns

run = ns.run(
    "digits:labeled",
    "digits:unlabeled",
    test="digits:test",
    out="runs/robustness",
    settings={
        "model.teacher": "resnet_small_8",
        "data.size": 8,
        "data.near_duplicates": "none",
        "noise.strength": 0.25,
        "train.steps": 80,
        "train.batch_size": 32,
        "rounds.count": 2,
        "rounds.controls": 1,
    },
    quiet=True,
)

for name in ("control", "best"):
    found = ns.robustness(
        checkpoint=run.path / name,
        source="digits:test",
        out=f"runs/robustness-of-{name}",
        settings={
            "evaluation.suite": ("corruptions", "attacks"),
            "evaluation.corruptions": ("gaussian_noise", "defocus_blur", "brightness", "contrast"),
            "evaluation.severities": (1, 3, 5),
            "evaluation.epsilons": (4,),
            "evaluation.max_images": 200,
        },
        quiet=True,
    )
    errors = {kind: sum(by.values()) / len(by) for kind, by in found.corruptions.errors.items()}
    print(f"{name}: {found.clean.top1:.1%} right on clean images")
    print("  error under corruption: " + ", ".join(f"{kind} {error:.0%}" for kind, error in errors.items()))
    for point in found.attacks.curve:
        print(f"  right under PGD of {point.epsilon:g}/255: {point.pgd:.0%}")
