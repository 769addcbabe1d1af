"""Models: architectures, the classifier, the teacher, averaged weights and checkpoints on disk."""
