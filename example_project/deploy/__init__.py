"""The example site on several hosts; docs/production.md explains the parts."""
