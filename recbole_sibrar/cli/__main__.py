"""``python -m recbole_sibrar.cli``."""

import sys

from recbole_sibrar.cli import main

sys.exit(main())
