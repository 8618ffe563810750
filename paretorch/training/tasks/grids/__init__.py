"""Tasks on grids, whose answers an algorithm knows."""
