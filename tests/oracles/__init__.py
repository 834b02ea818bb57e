"""Slow, obviously right answers. Nothing here imports what it checks."""
