# postern_unit_test(http MODULE ...), one a line.
