"""Folders of finished work, and claims by which several processes share one folder."""
