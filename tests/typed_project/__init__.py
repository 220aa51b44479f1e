"""A project that uses the public names; .ci/run checks its types against the installed wheel."""
