"""Training of the task classifier: outside the product, which only reads its artefact."""
