"""Who is connected, what they offer, what is in flight."""
