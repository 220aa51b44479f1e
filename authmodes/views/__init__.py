"""The REST door, a module for each subject."""
