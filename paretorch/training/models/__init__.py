"""The models of the tasks that ship, written plainly."""
