"""Networks for small images, registered with timm."""
