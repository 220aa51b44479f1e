"""Packages that listen to sign-ins, installed beside authmodes; `test_neighbours` runs these."""
