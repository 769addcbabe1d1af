"""Duplicates and near-duplicates between training images and held-out ones."""
