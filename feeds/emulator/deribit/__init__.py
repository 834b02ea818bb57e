"""Stage 1 of 8, simulated: Deribit's wire."""
