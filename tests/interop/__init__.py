"""OAuth clients of other people against the example site; `make interop` runs `cases.py`."""
