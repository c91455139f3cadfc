"""What a run leaves behind when it ends: the termination message, and ending at a signal."""
