"""Figures of Part 2: problems and what models make of them."""
