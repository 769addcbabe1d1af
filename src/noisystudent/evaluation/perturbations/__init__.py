"""Stability along perturbed sequences (ImageNet-P)."""
