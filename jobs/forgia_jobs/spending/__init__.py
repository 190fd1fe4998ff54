"""What a training takes: time, memory, energy."""
