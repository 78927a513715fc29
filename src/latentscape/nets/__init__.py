"""Building blocks: encoders and decoders for any shape, without losses."""
