"""The corruptions of ImageNet-C as batched image filters, one module per family."""
