"""Pretrained weights in a run: which ones, what of them is trained, and how long."""
