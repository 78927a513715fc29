"""A run folder becomes files that other programs run: ONNX with a card, or a page for any static host."""
