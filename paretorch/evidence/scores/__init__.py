"""Scores of published benchmarks, one per file: profiles, fixed-reference ratios, PePR, Zeus' cost, reference time."""
