"""The one error a user can cause and cure."""


class UserError(ValueError):
    """Bad input from outside: the message names what was given and what was expected.

    The command line prints the message alone and exits with code 2; anything else that is raised
    is a bug in physlm and keeps its traceback.
    """
