"""Image sources, decoding, splits and duplicate detection; this package does not import torch."""
