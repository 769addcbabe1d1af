"""Runs evaluate and predict on the same checkpoint, as torchrun starts them in several processes."""

import sys

from noisystudent.commands.main import main
from noisystudent.runtime.env import exit_process

if __name__ == "__main__":
    checkpoint, labeled, unlabeled, apart, out = sys.argv[1:]
    runtime = ["--runtime.threads=1", "--runtime.label_batch_size=100"]
    evaluate = ["evaluate", "--checkpoint", checkpoint, *runtime, "--source", labeled]
    code = main([*evaluate, "--calibrate", apart, "--out", f"{out}/calibrated.json"])
    code = code or main([*evaluate, "--out", f"{out}/scores.json"])
    exit_process(code or main(["predict", checkpoint, unlabeled, *runtime, "--out", f"{out}/answers.csv"]))
