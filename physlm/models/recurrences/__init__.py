"""Recurrences of a fixed-size memory, each in two forms: in chunks for whole rows, one step for a token more."""
