"""Making images, judged by a distance between distributions."""
