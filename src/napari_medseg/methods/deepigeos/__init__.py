"""What P-Net and R-Net need besides their networks: settings, cases, simulated users, distance channels."""
