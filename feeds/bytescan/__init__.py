"""Stage 2 of 8: byte scanners, compiled, for the most frequent messages of a venue.

A byte scanner takes a batch of frames in one call and understands less than JSON: no spaces, no
escapes, no repeated key, numbers that one multiplication or division rounds exactly. It refuses
whatever it does not fully understand, and the venue's msgspec decoder reads that instead. So the
two agree on everything by construction, and only speed depends on how often it refuses.

grammar.py   values of that subset of JSON
quoted.py    levels and quotes whose numbers are text
records.py   what a scan writes
scanner.py   batches through a scanner, and its records as columns
compile.py   the one place of feeds that knows numba
"""
