"""Soft masks over weights that become binary while the model trains."""
