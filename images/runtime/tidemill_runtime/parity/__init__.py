"""How the ONNX form of a model is compared with its native form, behind the server's own rules.

The trainer runs it before it calls a form verified, a server before it trusts a version that an older check verified.
Knows numpy and the server's models; no pandas, no converter.
"""
