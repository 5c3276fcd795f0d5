"""What people look at: pages of one look, and the plots in them."""
