# postern_unit_test(base MODULE ...), one a line.
