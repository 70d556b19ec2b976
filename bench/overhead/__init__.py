"""What a router adds to a request: latency and CPU against asking the engine directly, beside its peers.

The engine pretends: a stream of small events, one per step of constant time. `bench.overhead.sides` says who
is compared, `bench.overhead.figures` what is computed, docs/benchmarks.md how to read it.

    python -m bench.overhead --install-peers DIR
    python -m bench.overhead --peers DIR [--chunks 8 64] [--clients 1 8 64] [--repeats 5] [--output FILE]

Like every bench that asks over HTTP it imports nothing of ours.
"""
