"""`python -m oodgrid`."""

import sys

from oodgrid.cli import main

sys.exit(main())
