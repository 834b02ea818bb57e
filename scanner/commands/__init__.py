"""Stages 1 to 8 of 8: what each command does; a module is imported when its command is called."""
