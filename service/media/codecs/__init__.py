"""One module a format, each with two functions: `header` reads sizes and takes no memory for pixels, `decode` does."""
