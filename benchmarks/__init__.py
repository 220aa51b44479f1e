"""Measurements of authmodes beside what it replaces; see README.md."""
