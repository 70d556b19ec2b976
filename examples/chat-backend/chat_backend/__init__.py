"""A chat backend that talks to specroute: small enough to read, whole enough to copy."""
