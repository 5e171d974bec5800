"""`python -m aos` is the command `aos`."""

import sys

from aos.cli import main

if __name__ == "__main__":
    sys.exit(main())
