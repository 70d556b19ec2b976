"""`specroute demo`: sends a shipped set of prompts, and shows what the router learned from them."""
