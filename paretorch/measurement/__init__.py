"""Latency, multiply-accumulates, bytes, memory and machine noise; imports nothing of the other rooms."""
