"""Accuracy under attack: FGSM, PGD, AutoAttack."""
