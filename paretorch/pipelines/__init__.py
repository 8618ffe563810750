"""Sequences of phases: dense, prune, retrain; each phase resumable, each pipeline one file."""
