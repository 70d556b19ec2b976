"""What breaks services on purpose uses the same way to start them as the integration tests."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1] / "integration"))
