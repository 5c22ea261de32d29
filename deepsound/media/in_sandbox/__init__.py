"""What parses or decodes source files, inside the sandboxed process: `handlers` is what the parent can ask for.

A module that shares its name with one in `deepsound.media` does the work of that one. Nothing outside imports from
here, so that a damaged or hostile file can only reach these libraries inside the sandbox.
"""
