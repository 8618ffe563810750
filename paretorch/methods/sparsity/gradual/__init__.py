"""Methods that reach a sparsity while the model trains from scratch, in one run of a known length."""
