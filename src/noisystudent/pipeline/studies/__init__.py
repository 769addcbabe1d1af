"""Ablations: runs that differ in a few settings, on the same images with the same draws."""
