"""Recipes: TOML in, a validated sweep or comparison out. Lists in an arm expand into a grid; unknown keys stop before
any work.

name = "my-sweep"
task = "digits"              # or file.py:factory
seeds = [0, 1, 2]
[train]    batch_size, optimizer, lr, momentum, weight_decay, ...
[dense]    epochs, schedule, ...
[[arm]]    method = "imp", sparsity = [0.8, 0.9], epochs = 2, schedule = ["LLR", "ALLR"], ...
"""

from paretorch.recipes.compare_table import CompareTable, DenseArmTable
from paretorch.recipes.cut_table import CutTable
from paretorch.recipes.imp_table import ImpTable
from paretorch.recipes.load import cookbook, load_recipe
from paretorch.recipes.recipe import Recipe
from paretorch.recipes.search_table import SearchTable
from paretorch.recipes.train_table import DenseTable, TrainTable

__all__ = [
    "CompareTable",
    "CutTable",
    "DenseArmTable",
    "DenseTable",
    "ImpTable",
    "Recipe",
    "SearchTable",
    "TrainTable",
    "cookbook",
    "load_recipe",
]
