"""Machine clients: a secret is exchanged for short-lived access tokens, without a user.

allauth's identity provider has clients too. They have a single secret that never expires and
cannot overlap with its successor, and the whole provider would have to be installed.
"""
