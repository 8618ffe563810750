"""A student that learns from a teacher: its softened outputs, and if asked for, its hidden features."""
