# postern_unit_test(daemon MODULE ...), one a line.
