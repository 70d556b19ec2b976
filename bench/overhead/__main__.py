"""`python -m bench.overhead`."""

from __future__ import annotations

import signal
import sys

from bench.overhead.command import main

signal.signal(signal.SIGTERM, signal.default_int_handler)  # what was started is ended then, too
sys.exit(main())
