"""The local web page over runs: `latentscape studio`."""
