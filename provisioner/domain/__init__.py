"""What the appliance knows and decides, without a socket, a clock, a disk or a database."""
