postern_unit_test(forward signing FAULTS USES loopback)
