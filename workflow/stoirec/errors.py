"""The one exception a user's mistake raises; the command line turns it into one line and exit code 2."""


class BadInput(Exception):
    """Input that cannot be used. The message is one line: file, key, what was found, what is allowed."""

    def __init__(self, where: object, key: str, found: object, allowed: object) -> None:
        shown = repr(found) if not isinstance(found, str) else found
        if len(shown) > 200:
            shown = shown[:197] + "..."
        message = f"{where}: {key}: found {shown}; allowed: {allowed}"
        super().__init__(" ".join(message.split()))
