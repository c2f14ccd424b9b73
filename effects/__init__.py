"""What we do: desired Kubernetes objects as data, and the loop that makes a cluster equal to them."""
