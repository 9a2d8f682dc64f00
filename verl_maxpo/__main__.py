"""``python -m verl_maxpo``, the same as the command ``verl-maxpo``."""

import sys

from verl_maxpo.cli import main

if __name__ == "__main__":
    sys.exit(main())
