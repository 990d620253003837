"""What the shell needs from the world, as Protocols; each has a conformance suite that every adapter passes."""
