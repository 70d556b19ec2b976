"""`python -m chat_backend`: serve until told to end, and let the answers under way finish."""

from __future__ import annotations

import logging
import math
import sys

import uvicorn
from pydantic import ValidationError

from chat_backend.app import create_app
from chat_backend.settings import Settings


def main() -> int:
    """Serve; 2 where the settings are wrong, with a line for each."""
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    # It would tell every request, and with it nothing of interest.
    logging.getLogger("httpx2").setLevel(logging.WARNING)
    try:
        settings = Settings()
    except ValidationError as error:
        for one in error.errors():
            sys.stderr.write(f"CHAT_{'_'.join(map(str, one['loc'])).upper()}: {one['msg']}\n")
        return 2
    uvicorn.run(
        create_app(settings),
        host=settings.host,
        port=settings.port,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=math.ceil(settings.deadline_s) + 5,
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
