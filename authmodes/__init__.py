"""Sign-in for Django that ends in a cookie session or in tokens, on one revocable record."""

__version__ = "0.1.0"
