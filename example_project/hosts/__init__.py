"""Programs beside the site, each a host of its own: none of them imports Django or authmodes."""
