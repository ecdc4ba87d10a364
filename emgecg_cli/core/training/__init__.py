"""Training: which records make a batch, what a batch holds, the loop, and checkpoints that resume exactly."""
