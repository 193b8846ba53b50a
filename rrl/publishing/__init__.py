"""Publishing: notebooks run unattended, the manifest, the course, the site, the explorer."""
