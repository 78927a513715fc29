"""One loop for every family: phases in, a trained model, checkpoints and a log out."""
