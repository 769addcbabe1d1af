"""The stage that looks at a run's own images with the delivered model."""
