"""Two teachers, whose mean answers train a network a quarter of their size, beside the same network on labels alone."""

import noisystudent as ns

SHORT = {
    "data.size": 8,
    "data.near_duplicates": "none",
    "noise.strength": 0.25,
    "train.steps": 60,
    "train.batch_size": 32,
    "rounds.controls": 1,
}

run = ns.distill(
    teacher=["tiny_resnet", "tiny_resnet"],
    student="resnet_small_8",
    labeled="digits:labeled",
    unlabeled="digits:unlabeled",
    test="digits:test",
    out="runs/distilled",
    settings=SHORT,
    quiet=True,
)

print(f"student: {run.student.parameters:,} parameters, {run.student.test.top1:.1%} right")
print(f"the same network on labels alone: {run.control.test.top1:.1%} right")
print(f"did the teachers help? {run.verdict.decision}")
