"""HTTP over an exported model: encode, decode, sample, reconstruct, score. It needs no torch."""
