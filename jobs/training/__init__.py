"""From settings to a trained model: the loop, its state, checkpoints, evaluation."""
