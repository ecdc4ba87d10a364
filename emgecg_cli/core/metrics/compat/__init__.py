"""The arithmetic of other systems' papers, quirks included, so that their tables can be read beside ours."""
