"""The one exception that a user is meant to read."""


class InputError(ValueError):
    """Something the user gave cannot be used.

    The message is one line: the file, row or field, what is wrong with it, and what to do. Scripts
    print it without a traceback and exit with status 2.
    """
