"""Of knowledge about people: Parts 3.1 to 3.3 (arXiv 2309.14316, 2309.14402, 2404.05405)."""
