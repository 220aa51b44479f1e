"""Machine clients: a secret that is exchanged for short-lived access tokens, without a user.

allauth's identity provider has clients too, but with one secret that neither expires nor
overlaps with its successor, and the whole provider would have to be installed.
"""
