"""What every test starts from."""

import os

# Tests never reach a hub: a missing weight must be an answer at once, not after retries. Read when timm is imported.
os.environ["HF_HUB_OFFLINE"] = "1"
