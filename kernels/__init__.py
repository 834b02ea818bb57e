"""Stages 4 to 6 of 8: arrays in, scores out; the only package that knows devices."""
