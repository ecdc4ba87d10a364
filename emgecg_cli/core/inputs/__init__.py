"""What a record shows to a model, by name, and batches of it; for training and generation alike."""
