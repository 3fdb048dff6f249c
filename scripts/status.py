"""`skyfold status` as a script."""

import sys

from skyfold.cli.main import main

if __name__ == "__main__":
    sys.exit(main(["status", *sys.argv[1:]]))
