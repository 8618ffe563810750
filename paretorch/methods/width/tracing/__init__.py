"""The width groups of any model, found by one forward pass on tensors without data."""

from paretorch.methods.width.tracing.find import find_groups

__all__ = ["find_groups"]
