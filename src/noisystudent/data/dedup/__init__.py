"""Duplicates and near-duplicates between the images of a run and those that are held out."""
