"""The bundled example data."""
