"""`python -m skyfold`, the same as the command `skyfold`."""

import sys

from skyfold.cli.main import main

sys.exit(main())
