"""Stage 6 of 8: scoring of whole blocks of rows on the CPU, stage by stage."""
