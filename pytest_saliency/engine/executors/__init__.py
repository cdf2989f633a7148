"""Who does the passes: this process, or the workers of a cluster."""
