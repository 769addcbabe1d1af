"""ImageNet-C's and CIFAR-C's corruptions (Hendrycks and Dietterich, 2019), generated from any images, in batches."""
