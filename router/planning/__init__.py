"""`specroute plan`: what fits and what drafting may gain, for a pair of models or a deployment's profiles."""
