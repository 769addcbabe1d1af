"""Duplicates and near-duplicates between unlabeled images and held-out images."""
