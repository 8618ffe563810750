"""What leaves the house: safetensors and a manifest of declarative edits, reloaded without pickle."""
