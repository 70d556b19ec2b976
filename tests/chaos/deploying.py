"""Deploys a changed application into a running service, as `serve deploy` does: `python deploying.py SETTINGS`.

Run with the environment of one of the service's processes, which holds the run's token and Serve's settings;
SETTINGS is the deployment as JSON. Ends when Serve has carried it out.
"""

import json
import sys

import ray
from ray import serve

from router.app import application
from router.serving.launcher import APPLICATION
from router.settings import parse_settings

if __name__ == "__main__":
    address, settings = sys.argv[1:]
    ray.init(address=address, log_to_driver=False, logging_level="ERROR")
    serve.run(application(parse_settings(json.loads(settings))), name=APPLICATION, route_prefix="/")
