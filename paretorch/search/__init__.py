"""A search over the ranges of a recipe: trials, what they found, and what they cost."""

from paretorch.search.result import SearchResult, Trial
from paretorch.search.searching import RESULT, Search

__all__ = ["RESULT", "Search", "SearchResult", "Trial"]
