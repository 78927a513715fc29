"""One file per format; each turns what it reads into a `Raw`."""
