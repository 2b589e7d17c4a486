"""Provisioner: DHCP, TFTP and HTTP from one inventory, to install racks of servers over the network."""
