"""Stages 4 to 6 of 8: launch shapes on a GPU."""
