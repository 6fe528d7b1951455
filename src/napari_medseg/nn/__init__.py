"""Networks: pure torch, exactly as the papers' tables give them."""
