"""The allauth side of a login: what a sign-in under way waits for, and what it will become."""
