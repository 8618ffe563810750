"""Averages of weights, and what an average needs afterwards: fresh batch-norm statistics."""
