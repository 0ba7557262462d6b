"""Layered context-free grammars (Part 1): the grammars, their sampler, parser and likelihoods.

``grammar`` is the data structure and its text form, ``published`` the grammars of the papers, ``random_grammar`` makes
more; ``sampler`` draws labelled strings, ``parser`` reads them back, ``likelihood`` says how probable they are.
"""
