"""`specroute bench`."""
