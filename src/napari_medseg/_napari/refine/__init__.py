"""The dock Refine with scribbles."""
