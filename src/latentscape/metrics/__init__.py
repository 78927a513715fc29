"""One file per kind of measurement. Pixel metrics are on [0, 1] pixels, means over pixels, then over images."""
