"""Recording: profiles of a real server, their finals, and servers that replay them."""
