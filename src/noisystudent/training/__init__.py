"""Training: the one loop, what it is fed with, and the state that makes it resumable."""
