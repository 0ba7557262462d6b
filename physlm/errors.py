"""The errors that are no bugs of physlm: what a user can cause and cure, and what ends it from outside."""


class UserError(ValueError):
    """Bad input from outside: the message names what was given and what was expected.

    The command line prints the message alone and exits with code 2; anything else that is raised
    is a bug in physlm and keeps its traceback.
    """


class NotFiniteError(UserError):
    """A model computes numbers that are not finite, so that nothing is measured of it: its run has diverged."""


class LostProcessError(Exception):
    """A process that worked for this one has died, by no fault of its own.

    The command line prints the message, says how to go on, and exits with code 1.
    """


class Terminated(KeyboardInterrupt):
    """SIGTERM has come.  Whatever is right to do when the user presses Ctrl-C is right then, too."""
