"""Stage 1 of 8, simulated: local venue servers over one seeded market, for the demo and the tests.

Nothing in this package is market data: prices, trades and books come from a random number
generator, and every server says so in its answers (`"testnet": true`).
"""
