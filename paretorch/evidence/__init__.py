"""Records, statistics, fronts and reports: what may be claimed from what was measured."""
