"""The resolution fix: trained models are adapted to a larger test size (Touvron et al. 2019)."""
