"""What a plan takes for granted, in words."""

from __future__ import annotations

from typing import Final

_REQUESTS: Final = (
    "every request has --context tokens at the end of its answer, and shares its prefix with none"
)
_ALPHA: Final = "alpha is the same at every position, and the drafter always proposes k tokens"

ON_GPUS: Final = (
    "weights are divided evenly over the GPUs of an engine",
    (
        "the engine takes --utilization of each GPU (vLLM 0.32: 0.92); of this activations take the peak of "
        "a pass over max_num_batched_tokens or of sampling, CUDA 0.5 GiB, several GPUs 0.5 GiB more, "
        "CUDA graphs 0.75 GiB"
    ),
    _REQUESTS,
    (
        "decoding waits for memory: c is the bytes read for a draft over those of a target pass, "
        "without the launches of kernels, which small drafters feel"
    ),
    _ALPHA,
    "at load, checking drafts takes what bandwidth and arithmetic allow at best (roofline)",
)
ON_CPU: Final = (
    "an engine on the CPU keeps weights in float32; what it takes beside weights and KV cache was measured",
    _REQUESTS,
    "c is the bytes read for a draft over those of a target pass",
    _ALPHA,
    "at load, checking drafts takes 0.7 plain steps and 0.01 for each (the embedded model, measured)",
)
