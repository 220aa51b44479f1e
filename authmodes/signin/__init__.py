"""The allauth side of a login: the stages that it waits for, and what it becomes."""
