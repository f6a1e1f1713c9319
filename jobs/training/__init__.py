"""From settings to a trained model: the training loop, its state, checkpoints, evaluation."""
