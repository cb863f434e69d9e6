"""The passes: one rewrite, or one tight family, a module."""
