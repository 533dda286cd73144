"""`python -m lisa_core` is `lisa`."""

from lisa_core.cli.app import main

if __name__ == "__main__":
    main()
