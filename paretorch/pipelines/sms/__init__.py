"""Sparse Model Soups and what they are compared with: copies of one pruned model, retrained and averaged."""

from paretorch.pipelines.sms.reprune import RePrune
from paretorch.pipelines.sms.sms import SMS

__all__ = ["SMS", "RePrune"]
