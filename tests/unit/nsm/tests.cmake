# postern_unit_test(nsm MODULE ...), one a line.
postern_unit_test(nsm nsm LINK_OPTIONS -Wl,--wrap=ioctl)
