"""Thin adapters for other packages; each module needs its package, and nothing imports it here."""
