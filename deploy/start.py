"""What starts `unmask`: Ctrl-C ends it without a traceback while its modules still load."""

from __future__ import annotations

import signal


def main() -> None:
    """Load the command and run it. Until it is loaded SIGINT ends the process at once, unless it is ignored."""
    usual = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if usual:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from deploy import command

    if usual:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    command.main()


if __name__ == "__main__":
    main()
