"""State of a training on disk: shards, manifest, and the way back."""
