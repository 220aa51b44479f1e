"""What providers report about the logins that came from them, and signing out at a provider.

OpenID Connect Back-Channel Logout 1.0, and security event tokens (RFC 8417, RFC 8935).
"""
