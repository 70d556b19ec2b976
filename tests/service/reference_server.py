"""vLLM's own OpenAI app on one engine, without specroute: answers a file of requests, writes a file of answers.

Run as a program: reference_server.py PROFILE_JSON FOLDER REQUESTS ANSWERS. The engine has the settings of the
profile, but vLLM's own scheduler, worker class and engine client.
"""

from __future__ import annotations

import asyncio
import json
import sys
from argparse import Namespace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
from vllm.engine.arg_utils import AsyncEngineArgs
from vllm.entrypoints.launchers.api_server.app_state import init_app_state
from vllm.entrypoints.launchers.app import build_app
from vllm.entrypoints.launchers.cli_args import FrontendArgs
from vllm.v1.engine.async_llm import AsyncLLM

from replicas.profiles import ModelSpec, Profile, engine_arguments, server_arguments

_OURS = ("worker_cls", "distributed_executor_backend", "per_request_spec_decode_metrics")


async def _answers(profile: Profile, folder: str, requests: list[dict[str, Any]]) -> list[dict[str, Any]]:
    settings = engine_arguments(profile, ModelSpec(), folder=folder, on_cpu=True)
    arguments = AsyncEngineArgs(**{name: value for name, value in settings.items() if name not in _OURS})
    llm = AsyncLLM.from_engine_args(arguments)
    frontend = Namespace(**(vars(FrontendArgs(**server_arguments(ModelSpec()))) | vars(arguments)))
    tasks = await llm.get_supported_tasks()
    app = build_app(frontend, tasks, llm.model_config)
    await init_app_state(llm, app.state, frontend, tasks)
    app.state.server = SimpleNamespace(should_exit=False)
    transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://vllm", timeout=600) as client:
        answers = []
        for request in requests:
            response = await client.post(request["path"], json=request["body"])
            answers.append({"status": response.status_code, "text": response.text})
    llm.shutdown()
    return answers


def main() -> None:
    """Answer every request of the file, in order."""
    profile, folder, requests, answers = sys.argv[1:]
    result = asyncio.run(
        _answers(
            Profile.model_validate_json(profile),
            folder,
            json.loads(Path(requests).read_text(encoding="utf-8")),
        )
    )
    Path(answers).write_text(json.dumps(result), encoding="utf-8")


if __name__ == "__main__":
    main()
