"""Latency, MACs, FLOPs, bytes, memory, energy and machine noise; imports nothing of the other rooms."""
