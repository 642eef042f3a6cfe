"""Every face of Ostro: the command line, the headless printer, the full screen."""
