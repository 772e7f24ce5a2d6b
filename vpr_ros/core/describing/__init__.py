"""Images to descriptors: models, and what runs them."""
