"""The one error that users are shown."""


class InputError(Exception):
    """Something the user gave cannot be used. The message is one line that names it and says what to do."""
