"""`python -m adanns`."""

import sys

from adanns.cli import main

sys.exit(main())
