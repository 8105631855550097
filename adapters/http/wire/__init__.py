"""How HTTP messages look: heads, fields, payloads; bytes in their turns."""
