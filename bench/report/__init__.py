"""From result files to the marked parts of README.md and docs: tables and pictures, all by one command."""
