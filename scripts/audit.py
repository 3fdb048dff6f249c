"""`skyfold audit` as a script."""

import sys

from skyfold.cli.main import main

if __name__ == "__main__":
    sys.exit(main(["audit", *sys.argv[1:]]))
