# postern_unit_test(client MODULE ...), one a line.
