# postern_unit_test(config MODULE ...), one a line.
