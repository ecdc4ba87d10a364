"""What a text says, whatever language it is in: scripts and words, and a guess at the language."""
