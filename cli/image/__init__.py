"""The commands about images: bake, images."""
