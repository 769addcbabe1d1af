"""Losses as pure functions of tensors, and objectives that combine them as the settings say."""
