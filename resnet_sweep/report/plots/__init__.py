"""Pictures of results: each file computes one figure, two renderers draw them."""
