"""`specroute serve`: checks, the environment of an embedded Ray, start, progress, and an end without remains."""
