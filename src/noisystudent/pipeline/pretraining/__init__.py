"""Pretraining without labels: its images, its stage, and how good the features are."""
