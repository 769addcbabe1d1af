"""The stages of a round, one by one, with a look at what each leaves on disk."""

import pyarrow.compute as pc
import pyarrow.parquet as pq

import noisystudent as ns

SHORT = {"data.size": 8, "data.near_duplicates": "none", "noise.strength": 0.25, "train.batch_size": 32}

teacher = ns.train(
    "digits:labeled",
    out="runs/stages/teacher",
    settings={**SHORT, "train.steps": 80, "model.teacher": "tiny_resnet"},
    quiet=True,
)

# Soft labels of the unlabeled images: a Parquet file per shard, a row per image.
predictions = ns.label(teacher="runs/stages/teacher", source="digits:unlabeled", out="runs/stages/labels", quiet=True)
parts = sorted(predictions.glob("part-*.parquet"))
rows = pq.read_table(parts, columns=["key", "prediction", "confidence"])
print(f"{rows.num_rows} pseudo labels, of which {pc.sum(pc.greater(rows['confidence'], 0.5)).as_py()} are confident")

# The curriculum of the second round takes the most confident 40% of each predicted class.
selection = ns.select(predictions="runs/stages/labels", out="runs/stages/selection", round=2)
print(f"{selection.selected} of {selection.rows} pseudo labels selected")

student = ns.train(
    "digits:labeled",
    unlabeled="digits:unlabeled",
    predictions="runs/stages/labels",
    selection="runs/stages/selection",
    out="runs/stages/student",
    settings={**SHORT, "train.steps": 160, "model.teacher": "tiny_resnet"},
    quiet=True,
)

for name in ("teacher", "student"):
    scores = ns.evaluate(checkpoint=f"runs/stages/{name}", source="digits:test")
    print(f"{name}: {scores.top1:.1%} of {scores.count} test images right")
# The student trained longer, too. Only a control tells how much of the gain is due to unlabeled images: ns.run has one.
