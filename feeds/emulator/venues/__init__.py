"""Stage 1 of 8, simulated: the wires of the emulated venues that fit in one file."""
