"""Who is it, on the wire: one facade for every credential, and when each of them ends."""
