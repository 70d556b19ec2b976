"""`specroute calibrate`: measures prompts on a running service, and reports what drafts are worth there."""
