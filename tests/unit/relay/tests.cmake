# postern_unit_test(relay MODULE ...), one a line.
