"""Programs that contributors need and that a machine may lack: found on PATH or installed from packages.

Nothing here may need more than the standard library: it runs before anything is installed.
"""
