"""Metrics of words: BLEU, METEOR, ROUGE, CIDEr-D, BERTScore, and the tokens under them."""
