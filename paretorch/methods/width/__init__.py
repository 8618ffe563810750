"""Widths: which channels must be cut together, what a width costs, training at every width, and cutting for good."""
