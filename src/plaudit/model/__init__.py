"""From rankings to tokens, from tokens to rewards."""
