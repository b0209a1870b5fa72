# postern_unit_test(nsm MODULE ...), one a line.
postern_unit_test(nsm nsm FAULTS LINK_OPTIONS -Wl,--wrap=ioctl)
