"""The one training loop, with tasks, models, run directories and checkpoints."""
