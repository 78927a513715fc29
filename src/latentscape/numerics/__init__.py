"""Pure formulas, each once: tensors in, tensors out, tested against closed forms."""
