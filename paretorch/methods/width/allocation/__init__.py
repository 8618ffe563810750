"""Solvers that choose one width per group under a budget; `paretorch.methods.width.profile` is the way in."""
