"""The verbs evaluate and predict on the same checkpoint, as torchrun starts them in several processes."""

import sys

from noisystudent.cli import main
from noisystudent.runtime.launcher import leave

if __name__ == "__main__":
    checkpoint, labeled, pile, out = sys.argv[1:]
    common = ["--checkpoint", checkpoint, "--runtime.threads=1", "--runtime.label_batch_size=100"]
    code = main(["evaluate", *common, "--source", labeled, "--out", f"{out}/scores.json"])
    leave(code or main(["predict", *common, "--source", pile, "--out", f"{out}/answers.csv"]))
