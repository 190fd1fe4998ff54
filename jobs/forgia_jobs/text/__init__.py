"""Documents to tokens, and a network that goes on with them."""
