"""What one does with latents: encode sets, walk between codes, fit priors. Arrays in, arrays out."""
