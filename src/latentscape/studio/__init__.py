"""The local web page over runs."""
