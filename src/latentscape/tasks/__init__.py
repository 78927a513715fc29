"""What spans rooms: whole jobs made of data, models, training, metrics and pictures."""
