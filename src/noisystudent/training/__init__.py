"""Training: the one loop, its batches, and the state that makes it resumable."""
