"""Tables and figures as the article has them, from the folders of finished runs."""
