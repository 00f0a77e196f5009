"""The ``convert`` command."""


def add_convert_parser(commands) -> None:
    """Add ``convert`` to the command line."""
