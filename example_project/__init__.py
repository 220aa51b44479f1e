"""A small real site that shows authmodes at work; nothing in the package depends on it."""
