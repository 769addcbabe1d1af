"""Losses as pure functions of tensors, and the objectives that bind them to settings."""
