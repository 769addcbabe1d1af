"""The stages that train networks: their images, noise, batches and targets, and the checkpoint at the end."""
