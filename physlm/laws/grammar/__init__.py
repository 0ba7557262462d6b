"""Of context-free grammars: Part 1 (arXiv 2305.13673)."""
