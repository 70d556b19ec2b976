"""`python -m bench.methods`."""

from __future__ import annotations

import sys

from bench.methods.command import main

sys.exit(main())
