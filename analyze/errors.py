"""What users did wrong, told apart from what programs do wrong."""


class UsageError(Exception):
    """A fault of the user's, or of a file's: one line that says what, where, and what to do.

    Commands print it and end with status 2. Every other exception is a fault of the program and
    keeps its traceback.
    """
