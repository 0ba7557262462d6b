"""The commands of ``physlm``, one module a family; ``options`` holds what they share.

May import everything, but imports torch only inside the commands that need it.
"""
