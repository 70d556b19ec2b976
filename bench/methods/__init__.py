"""Every way to draft for the embedded model, on real engines in one run: acceptance, speed, and the answers.

    python -m bench.methods ngram eagle3=runs/drafter/drafter --out methods --spec-bench spec_bench.jsonl
    python -m bench.methods.pools ngram eagle3=runs/drafter/drafter --out pools

Starts `specroute serve` with a plain pool and one for each method, asks every prompt of every pool at every
k, and compares each with plain decoding of the same prompt. docs/methods.md says how to read the tables.
"""
