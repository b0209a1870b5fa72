# postern_unit_test(forward MODULE ...), one a line.
postern_unit_test(forward signing FAULTS USES loopback)
