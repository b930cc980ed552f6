"""`python -m selfrep` is the `selfrep` command, for an environment whose scripts are not on the path."""

from selfrep.cli import main

if __name__ == "__main__":
    main()
