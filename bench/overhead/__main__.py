"""`python -m bench.overhead`."""

from __future__ import annotations

import sys

from bench.overhead.command import main
from bench.stopping import stop_on_sigterm

stop_on_sigterm()
sys.exit(main())
