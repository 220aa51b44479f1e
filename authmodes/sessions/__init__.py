"""The cookie side of a login: our session engines, and what we keep in a Django session."""
