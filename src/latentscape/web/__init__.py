"""What every HTTP surface shares: addresses and tokens, limits, headers, uploads. It needs no torch."""
