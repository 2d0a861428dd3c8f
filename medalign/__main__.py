"""`python -m medalign COMMAND`, the same as the console script `medalign`."""

from medalign.commands.main import main

if __name__ == "__main__":
    raise SystemExit(main())
