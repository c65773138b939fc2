"""Measures as plots, tables, a page and a model card."""
