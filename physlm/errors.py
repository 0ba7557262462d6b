"""The errors that are no bugs of physlm: what a user can cause and cure, and what a model cannot be measured for."""


class UserError(ValueError):
    """Bad input from outside: the message names what was given and what was expected.

    The command line prints the message alone and exits with code 2; anything else that is raised
    is a bug in physlm and keeps its traceback.
    """


class NotFiniteError(UserError):
    """A model computes numbers that are not finite, so that nothing is measured of it: its run has diverged."""
