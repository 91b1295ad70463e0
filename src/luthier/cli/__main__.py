"""``python -m luthier.cli``."""

import sys

from luthier.cli import main

if __name__ == "__main__":  # and not where `luthier bench` starts processes from this one
    sys.exit(main())
