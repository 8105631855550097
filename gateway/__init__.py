"""What happens? One call's life, event channels, the site and its View."""

OWNER = "hilum"
