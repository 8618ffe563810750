"""Layers that share their parameters: template banks, how similar layers became, and folding them into tied layers."""
