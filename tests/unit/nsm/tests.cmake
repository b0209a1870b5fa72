# postern_unit_test(nsm MODULE ...), one a line.
postern_unit_test(nsm nsm FAULTS LINK_OPTIONS -Wl,--wrap=ioctl)
postern_unit_test(nsm waiting)
postern_unit_test(nsm answers)
postern_unit_test(nsm insecure FAULTS USES postern_insecure_nsm LINK_OPTIONS -Wl,--wrap=poll,--wrap=send,--wrap=recv)
