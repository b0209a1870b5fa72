# postern_unit_test(session MODULE ...), one a line.
