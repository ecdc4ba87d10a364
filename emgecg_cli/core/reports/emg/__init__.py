"""What an EMG report says: statements of nerves and muscles, what is called normal, who is healthy."""
