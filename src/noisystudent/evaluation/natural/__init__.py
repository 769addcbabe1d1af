"""Accuracy under natural distribution shift: ImageNet-A, -R, -O, -Sketch, ImageNetV2, ReaL, own sets."""
