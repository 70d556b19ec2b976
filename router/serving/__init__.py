"""`specroute serve`: checks, the environment of an embedded Ray, start, progress, a clean end."""
