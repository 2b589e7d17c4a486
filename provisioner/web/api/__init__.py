"""The API, one file a noun. Handlers parse, call one action, and map the result; the paths are in ``people``."""
