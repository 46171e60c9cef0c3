"""Exceptions whose messages are meant for users."""


class InputError(ValueError):
    """Invalid input from the user.

    The message is one line: the file, row or field, what is wrong with it, and what to do. Scripts
    print it without a traceback and exit with status 2.
    """


class NotFiniteError(InputError):
    """An InputError about a training whose loss, gradient or parameters are no numbers any more."""


class DataError(InputError):
    """An InputError about one place in the user's data, which a report may note instead of raising.

    Attributes:
        where: the file and the line, row or field.
        what: what is wrong with it, and what to do.
    """

    def __init__(self, where: str, what: str) -> None:
        super().__init__(f"{where}: {what}")
        self.where, self.what = where, what
