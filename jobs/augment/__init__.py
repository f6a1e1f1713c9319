"""Random changes of images while they are trained on, on the device, and the random numbers for them."""
