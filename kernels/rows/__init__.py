"""Stages 4 to 6 of 8: what is done to one listing, one text for every device."""
