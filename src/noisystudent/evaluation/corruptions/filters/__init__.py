"""The corruptions of ImageNet-C as filters of image batches, one module per family."""
