"""What providers tell us about the logins that came from them: that they have ended.

OpenID Connect Back-Channel Logout 1.0, security event tokens (RFC 8417, RFC 8935), and the
way back: where to send a browser that wants to sign out at its provider as well.
"""
