"""Other systems against what their authors published: weights copied over, outputs compared."""
