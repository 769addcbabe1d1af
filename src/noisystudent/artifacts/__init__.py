"""Folders of finished work, and how several processes share one."""
