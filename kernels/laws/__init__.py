"""Stage 5 of 8: formulas, each once, scalar, for every device."""
