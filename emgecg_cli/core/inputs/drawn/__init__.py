"""Tables, values and words that are drawn instead of read: what the first stage of EMG training learns from."""
