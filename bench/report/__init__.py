"""From result files to docs/benchmarks.md: tables and pictures, all by one command."""
