"""The `local` provider: a real control plane and a real node as processes of this machine."""
