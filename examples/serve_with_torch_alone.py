"""Export a model, and predict with torch, NumPy and Pillow, as a server without this package would."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits

import noisystudent as ns

ns.train(
    "digits:labeled",
    out="runs/served/model",
    settings={"model.teacher": "resnet_small_8", "data.size": 8, "train.steps": 80, "train.batch_size": 32},
    quiet=True,
)
folder = ns.export("runs/served/model", to="torch-export", out="runs/served/export", preprocessing=True)
print("exported:", ", ".join(sorted(path.name for path in Path(folder).iterdir())))

digits = load_digits()
Image.fromarray((digits.images[0] * 255 / 16).astype(np.uint8)).save("runs/served/zero.png")

SERVER = """
import json, sys
import numpy as np, torch
from PIL import Image

program = torch.export.load(sys.argv[1] + "/model.pt2").module()
classes = json.load(open(sys.argv[1] + "/config.json"))["label_names"]
image = np.asarray(Image.open(sys.argv[2]).convert("L"))[None, None]  # uint8 [1, 1, 8, 8]
with torch.no_grad():
    probabilities = program(torch.from_numpy(image.copy())).softmax(dim=1)[0]
best = int(probabilities.argmax())
print(json.dumps({"class": classes[best], "confidence": round(float(probabilities[best]), 3)}))
"""
answer = subprocess.run(
    [sys.executable, "-c", SERVER, str(folder), "runs/served/zero.png"], check=True, capture_output=True, text=True
)
print("a zero is taken for:", json.loads(answer.stdout))
