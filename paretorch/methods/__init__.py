"""Every efficiency method, one idea per file, pure PyTorch, usable without the rest."""
