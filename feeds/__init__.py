"""Stages 1 and 2 of 8: venue wire to event rows."""
