"""`python3 -m smblock`: the same as the command `smblock`."""

import sys

from smblock.cli import main

if __name__ == "__main__":
    sys.exit(main())
