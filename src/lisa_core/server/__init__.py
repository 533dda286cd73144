"""`lisa demo`: a local web page, and a JSON API, on which a model answers. Needs the extra `lisa-core[serve]`."""
