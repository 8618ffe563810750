"""Unstructured and patterned sparsity: masks, selection, allocation, scores."""
