"""Networks: a backbone makes feature maps, an aggregator makes one descriptor of them."""
