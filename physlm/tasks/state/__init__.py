"""Tasks that ask for a state kept along a sequence: one file a task.

The flip-flop language keeps one bit, word problems an element of a group, regular languages the state of an automaton
that the sequence itself has to tell.
"""
