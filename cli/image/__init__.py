"""Commands for images: bake, images."""
