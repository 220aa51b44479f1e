"""Measurements of authmodes, compared with what it replaces; see README.md."""
