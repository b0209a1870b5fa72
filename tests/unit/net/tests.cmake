# postern_unit_test(net MODULE ...), one a line.
postern_unit_test(net addr)
postern_unit_test(net guard)
