"""Linear layers as products of two, whose ranks are widths."""
