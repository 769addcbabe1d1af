"""From a teacher to what a student trains on: stored predictions, labeling, selection."""
