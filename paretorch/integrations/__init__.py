"""The same methods inside other training loops: Hugging Face and Lightning callbacks."""
